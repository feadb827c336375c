"""The commands of `edgemill registry`, on a registry in a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import CryptoSigner
from typer.testing import CliRunner

from components.push.several import publish
from components.spec.registry import LocalRegistry
from edgemill.main import app
from tests.components.push.places import MODEL, manifest_of


def edgemill(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["registry", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    code, output = edgemill("init", str(tmp_path / "registry"), "--keys", str(tmp_path / "keys"))
    assert code == 0
    assert "DEVELOPMENT KEYS" in output
    with mock.patch.dict(os.environ, {"EDGEMILL_KEYS": str(tmp_path / "keys")}):
        yield str(tmp_path / "registry")


def push(root: str, model: bytes, channel: str) -> str:
    (release,), _ = publish([LocalRegistry(root=root, channel=channel)], "phone", "shoes", model, manifest_of(model))
    return release.version


def test_roll_out_from_canary_to_all_devices_and_back(root: str) -> None:
    old, new = push(root, MODEL, "stable"), push(root, MODEL[::-1], "canary")
    place = f"{root}/phone/shoes"
    for arguments, line in (
        (("promote", f"{place}/{new}", "--percent", "5"), f"{new} 5 %, then {old} 100 %: promoted"),
        (("promote", f"{place}/{new}", "--percent", "12.5"), f"{new} 12.5 %, then {old} 100 %: promoted"),
        (("pause", place), f"{new} 12.5 % (paused), then {old} 100 %: paused"),
        (("promote", f"{place}/{new}"), f"{new} 100 %: promoted"),
        (("rollback", place), f"{old} 100 %: rolled back"),
    ):
        assert edgemill(*arguments) == (0, f"phone/shoes stable: {line}\n")
    code, output = edgemill("status", root)
    assert code == 0
    assert "signed with development keys" in output
    assert f"phone/shoes canary: {new} 100 %" in output
    status = json.loads(edgemill("status", root, "--json")[1])
    assert [(one["channel"], one["stages"][0]["release"]["version"]) for one in status["channels"]] == [
        ("canary", new), ("stable", old)]  # fmt: skip


def test_status_needs_no_private_key(root: str, tmp_path: Path) -> None:
    version = push(root, MODEL, "stable")
    trusted = ("--trust", str(tmp_path / "keys/root.json"))
    with mock.patch.dict(os.environ, {"EDGEMILL_KEYS": ""}):
        code, output = edgemill("status", root)
        first = f"{root}: signed, verified from its own first root (specify a trusted root.json with --trust)\n"
        assert (code, output.startswith(first)) == (0, True), output
        assert f"phone/shoes stable: {version} 100 %" in output
        code, output = edgemill("status", root, *trusted)
        assert (code, output.splitlines()[0]) == (0, f"{root}: signed"), output
        status = json.loads(edgemill("status", root, *trusted, "--json")[1])
        assert (status["signed"], status["anchored"], status["development"]) == (True, True, None)
        assert json.loads(edgemill("status", root, "--place", "phone/boots", "--json")[1])["channels"] == []
        assert edgemill("init", str(tmp_path / "other"), "--keys", str(tmp_path / "more"))[0] == 0
        code, output = edgemill("status", root, "--trust", str(tmp_path / "more/root.json"))
        assert (code, "the registry isn't the one that these keys sign" in output) == (1, True), output


def test_status_of_a_registry_without_signatures_lists_its_channels(tmp_path: Path) -> None:
    plain = str(tmp_path / "plain")
    old, new = push(plain, MODEL, "stable"), push(plain, MODEL[::-1], "canary")
    lines = f"{plain}: not signed\n  phone/shoes canary: {new} 100 %\n  phone/shoes stable: {old} 100 %\n"
    assert edgemill("status", plain) == (0, lines)
    status = json.loads(edgemill("status", plain, "--json")[1])
    assert (status["signed"], [one["stages"][0]["release"]["version"] for one in status["channels"]]) == (
        False,
        [new, old],
    )
    code, output = edgemill("status", plain, "--place", "phone/boots")
    assert (code, "there is nothing in this place" in output) == (1, True), output
    (tmp_path / "plain/phone/shoes/canary.json").write_text("{}")
    code, output = edgemill("status", plain)
    assert (code, "phone/shoes: canary: " in output, f"stable: {old} 100 %" in output) == (0, True, True), output


def test_delegated_device_class_has_keys_before_its_first_push(root: str, tmp_path: Path) -> None:
    code, output = edgemill("delegate", root, "watch")
    named = "".join(f"key: {tmp_path}/keys/watch.{channel}.pem\n" for channel in ("canary", "beta", "stable"))
    assert (code, output) == (0, f"delegated: watch.canary, watch.beta, watch.stable\n{named}")
    code, output = edgemill("delegate", root, "watch", "--json")
    assert (code, json.loads(output)["delegated"]) == (0, [])
    assert edgemill("delegate", root, "watch") == (0, "watch: its channels already have keys\n")
    code, output = edgemill("audit", root)
    assert (code, output.count(" delegate ")) == (0, 1)
    assert edgemill("verify", root)[0] == 0
    code, output = edgemill("delegate", root, "Watch!")
    assert (code, "the device class cannot be a folder name" in output) == (2, True), output


def test_changes_are_printed_as_json(root: str, tmp_path: Path) -> None:
    old, new = push(root, MODEL, "stable"), push(root, MODEL[::-1], "canary")
    place = f"{root}/phone/shoes"

    def printed(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    for arguments, stages in (
        (("promote", f"{place}/{new}", "--percent", "5"), [(new, 500, False), (old, 10_000, False)]),
        (("pause", place), [(new, 500, True), (old, 10_000, False)]),
        (("rollback", place), [(old, 10_000, False)]),
    ):
        state = printed("registry", *arguments)
        found = [(one["release"]["version"], one["share"], one["paused"]) for one in state["stages"]]
        assert (state["channel"], state["name"], found) == ("stable", "shoes", stages)
    # The command for a single release prints the same for a signed registry.
    assert printed("rollback", f"{place}/{new}", "--files-only")["stages"][0]["release"]["version"] == new
    refreshed = printed("registry", "refresh", root, "--force")
    assert "timestamp" in refreshed["signed_again"] and refreshed["not_signed"] == {}
    assert set(refreshed["expires"]) == {"timestamp", "snapshot"}
    keys = printed("registry", "public-key", root, "phone.stable")
    [key] = keys["keys"]
    assert (keys["role"], key["public"]) == ("phone.stable", edgemill("public-key", root, "phone.stable")[1])
    [before] = printed("registry", "public-key", root, "timestamp")["keys"]
    assert printed("registry", "rotate", root, "timestamp")["replaced"] == before["id"]
    other = printed("registry", "init", str(tmp_path / "other"), "--keys", str(tmp_path / "more"))
    assert Path(other["root"]).parent == Path(other["keys"]) == tmp_path / "more" and Path(other["root"]).is_file()


def test_refresh_signs_when_it_is_time_and_rotate_names_the_old_key(root: str) -> None:
    code, output = edgemill("refresh", root)
    assert code == 0
    assert output.startswith("nothing to sign again\ntimestamp expires ")
    push(root, MODEL, "stable")
    code, output = edgemill("refresh", root, "--force")
    assert code == 0
    roles = "targets, phone.canary, phone.beta, phone.stable, snapshot, timestamp"
    assert output.startswith(f"signed again: {roles}\ntimestamp expires ")
    code, output = edgemill("rotate", root, "timestamp")
    assert code == 0
    assert output.startswith("timestamp: the key ")
    assert edgemill("rotate", root, "timestamp", "--key", "awskms:x")[0] == 2


def test_rotation_that_is_refused_is_not_in_the_log(root: str, tmp_path: Path) -> None:
    push(root, MODEL, "stable")
    (pem := tmp_path / "key.pem").write_text(edgemill("public-key", root, "snapshot")[1])
    before = edgemill("audit", root)
    for role, *options in (
        ("phone.gamma",),
        ("timestamp", "--key", "env:NOT_SET"),
        ("timestamp", "--old", "ffff"),
        ("timestamp", "--public-key", str(pem), "--key", "env:NOT_SET"),
        ("snapshot", "--public-key", str(pem), "--key", "file:missing.pem"),
        ("phone.stable", "--public-key", str(pem), "--key", "foo:bar"),
    ):
        assert edgemill("rotate", root, role, *options)[0] in {1, 2}
        assert edgemill("audit", root) == before
    (tmp_path / "keys" / "targets.pem").rename(tmp_path / "targets.pem")
    assert "not enough keys to sign as targets" in edgemill("rotate", root, "phone.stable")[1]
    assert edgemill("audit", root) == before
    (tmp_path / "targets.pem").rename(tmp_path / "keys" / "targets.pem")
    assert edgemill("rotate", root, "phone.stable")[0] == 0
    assert ": rotate phone.stable" in edgemill("audit", root)[1]


def test_set_with_one_key_elsewhere_is_still_called_a_development_set(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = CryptoSigner.generate_ecdsa()
    monkeypatch.setenv("A_KEY", signer.private_bytes.decode())
    (pem := tmp_path / "key.pem").write_text(signer.public_key.keyval["public"])
    code, output = edgemill("rotate", root, "timestamp", "--public-key", str(pem), "--key", "env:A_KEY")
    assert code == 0, output
    assert "signed with development keys" in edgemill("status", root)[1]


def test_public_key_of_a_channel_is_printed_for_firmware(root: str, tmp_path: Path) -> None:
    push(root, MODEL, "stable")
    code, pem = edgemill("public-key", root, "phone.stable")
    assert code == 0
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, EllipticCurvePublicKey)
    code, header = edgemill("public-key", root, "phone.stable", "--header")
    assert code == 0
    point = bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})\b", header))
    assert point == key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert "#define EDGEMILL_KEY_COUNT 1\n" in header


def test_public_key_is_printed_without_a_key_set(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(root, MODEL, "stable")
    pem = edgemill("public-key", root, "phone.stable")[1]
    monkeypatch.delenv("EDGEMILL_KEYS")
    without = CliRunner().invoke(app, ["registry", "public-key", root, "phone.stable"])
    assert (without.exit_code, without.stdout) == (0, pem)
    assert "verified from its own first root (specify a trusted root.json with --trust)" in without.stderr
    trust = ("--trust", str(tmp_path / "keys" / "root.json"))
    assert edgemill("public-key", root, "phone.stable", *trust) == (0, pem)
    for arguments, anchored in ((trust, True), ((), False)):
        found = json.loads(edgemill("public-key", root, "phone.stable", "--json", *arguments)[1])
        assert (found["anchored"], [key["public"] for key in found["keys"]]) == (anchored, [pem])
    other = str(tmp_path / "other")
    edgemill("init", other, "--keys", str(tmp_path / "other-keys"))
    code, output = edgemill("public-key", other, "targets", *trust)
    assert code == 1 and "the registry isn't the one that these keys sign" in output


def test_mistakes_are_reported(root: str, tmp_path: Path) -> None:
    plain = str(tmp_path / "plain")
    version = push(plain, MODEL, "stable")
    for arguments, message in (
        (("init", root, "--keys", str(tmp_path / "more")), "this registry is already signed"),
        (("init", "ftp://host/repository", "--keys", str(tmp_path / "more")), "there is no such kind of registry"),
        (("refresh", plain), "this registry is not signed"),
        (("promote", f"{plain}/phone/shoes/{version}"), "this registry is not signed"),
        (
            ("pause", f"{root}/phone/shoes"),
            "(expected: a release that some devices get; found: no release). Remedy: promote a release first",
        ),
        (("pause", f"{root}/phone/shoes", "--channel", "gamma"), "a signed registry has no such channel"),
        (("rotate", root, "phone.gamma"), "there is no such role"),
        (("public-key", root, "phone.gamma"), "there is no such role"),
        (("promote", f"{root}/phone/shoes/{version}", "--percent", "0"), "percent"),
    ):
        code, output = edgemill(*arguments)
        assert code in {1, 2}, output
        assert message in " ".join(output.split())
