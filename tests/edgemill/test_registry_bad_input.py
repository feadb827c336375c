"""Bad addresses, places, and channels of `edgemill registry`: explained before anything is read, without secrets."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.components.push.places import MODEL, Place, manifest_of, store_of

VERSION = "0" * 16
OF_REGISTRIES = ("status", "refresh", "verify", "gc", "repair", "audit")


def edgemill(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "hunter22" not in done.output
    return done.exit_code, " ".join(done.output.split())


def commands(root: str, folder: Path) -> list[list[str]]:
    """Every command that takes the address of a registry, or of what is in one."""
    release = f"{root}/phone/shoes/{VERSION}"
    return [
        *(["registry", name, root] for name in OF_REGISTRIES),
        ["registry", "init", root, "--keys", str(folder / "keys")],
        ["registry", "mirror", root, str(folder / "mirror")],
        ["registry", "mirror", str(folder), root],
        ["registry", "repair", str(folder), "--from", root],
        ["registry", "rotate", root, "timestamp"],
        ["registry", "public-key", root, "timestamp"],
        ["registry", "promote", release],
        ["registry", "rollback", f"{root}/phone/shoes"],
        ["registry", "pause", f"{root}/phone/shoes"],
        ["rollback", release, "--root", str(folder / "root")],
    ]


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("oci://me:hunter22@host/mill", "oci://: this is not the address of a registry (expected: oci://HOST[:PORT]/"),
        ("oci://host/Mill", "oci://: this is not the address of a registry (expected: oci://HOST[:PORT]/PREFIX in"),
        ("oci://host/Mill", "found: oci://host/Mill"),
        ("s3://me:hunter22@mill/x", "s3://: this is not the address of a registry (expected: s3://BUCKET/PREFIX)"),
        ("s3://mill/x?secret=hunter22", "s3://: this is not the address of a registry (expected: s3://BUCKET/PREFIX)"),
        ("gs://UPPER/x", "gs://: this is not the address of a registry (expected: gs://BUCKET/PREFIX; found: gs:/"),
        ("ftp://me:hunter22@host/x", "ftp://: there is no such kind of registry (expected: a folder, or s3://BUCKET"),
    ],
)  # fmt: skip
def test_address_that_is_none_is_refused_by_every_command(root: str, said: str, tmp_path: Path) -> None:
    for arguments in commands(root, tmp_path):
        code, output = edgemill(*arguments)
        assert (code, said in output, "Remedy: " in output) == (ExitCode.BAD_INPUT, True, True), (arguments, output)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("name", OF_REGISTRIES)
def test_folder_that_does_not_exist_is_no_registry(name: str, tmp_path: Path) -> None:
    code, output = edgemill("registry", name, str(tmp_path / "nothing"))
    assert (code, f"{tmp_path}/nothing: there is no such registry" in output) == (ExitCode.NODE_FAILED, True), output
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def signed(tmp_path: Path) -> Place:
    with store_of("local") as running:
        place = running.place(tmp_path / "registry")
    assert edgemill("registry", "init", place.root, "--keys", str(tmp_path / "keys"))[0] == 0
    return place


@pytest.mark.parametrize("command", ["rollback", "pause"])
def test_place_that_is_none_is_explained(signed: Place, command: str, tmp_path: Path) -> None:
    with mock.patch.dict(os.environ, {"EDGEMILL_KEYS": str(tmp_path / "keys")}):
        for place in ("x", "x/y", f"{signed.root}/Phone/shoes", "/phone/shoes"):
            code, output = edgemill("registry", command, place)
            assert code == ExitCode.NODE_FAILED
            assert f"{place}: this is not a place in a registry (expected: REGISTRY/DEVICE_CLASS/NAME)" in output
        # Deep enough, but the registry itself.
        code, output = edgemill("registry", command, signed.root)
        assert (code, "REGISTRY/DEVICE_CLASS/NAME" in output) == (ExitCode.NODE_FAILED, True), output


def test_unknown_channel_is_refused_before_a_release_is_read(signed: Place, tmp_path: Path) -> None:
    release = signed.open().put("phone", "shoes", MODEL, manifest_of(MODEL))
    before = signed.files.all()
    with mock.patch.dict(os.environ, {"EDGEMILL_KEYS": str(tmp_path / "keys")}):
        for arguments in (
            ("promote", release.path), ("promote", f"{signed.root}/phone/shoes/{VERSION}"),
            ("rollback", f"{signed.root}/phone/shoes"), ("pause", f"{signed.root}/phone/shoes"),
        ):  # fmt: skip
            code, output = edgemill("registry", *arguments, "--channel", "gamma")
            assert (code, "no such channel (expected: one of canary, beta, stable; found: gamma)" in output) == (
                ExitCode.NODE_FAILED,
                True,
            ), output
    assert signed.files.all() == before


def test_key_set_that_is_none_is_named_by_its_missing_file(signed: Place, tmp_path: Path) -> None:
    with mock.patch.dict(os.environ, {"EDGEMILL_KEYS": str(tmp_path / "nowhere")}):
        code, output = edgemill("registry", "status", signed.root)
    said = (
        f"edgemill: {tmp_path}/nowhere/keys.json: this is not a key set: No such file or directory (expected: a folder"
    )
    assert (code, output.startswith(said)) == (ExitCode.BAD_INPUT, True), output
