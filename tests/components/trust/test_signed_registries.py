"""What every kind of registry promises when it is signed, and what keys are refused."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from moto import mock_aws
from moto.kms.utils import ECDSAPrivateKey
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key
from tuf.api.metadata import Metadata

from components.core.errors import EdgemillError, RegistryError, SpecError
from components.core.files import sha256_of_bytes
from components.push import signed
from components.push.artifact import artifact_of, artifact_path
from components.push.several import publish
from components.spec.registry import LocalRegistry
from components.trust import clock, rollout
from components.trust.keys import VARIABLE, read_key_set
from components.trust.memory import FOLDER_IN_KEYS
from components.trust.setup import add_device_class, create, renew, rotate
from components.trust.storage import FolderStore
from edgemill.commands.rollback import roll_back
from tests.components.push.places import KINDS, MODEL, Place, Store, manifest_of, store_of
from tests.forked import killed_at
from tests.gateway import ANSWER_LOST, Fault

OTHER = MODEL[::-1]


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


@pytest.fixture
def place(signed_registry: Place) -> Place:
    return signed_registry


def push(place: Place, model: bytes = MODEL, channel: str = "stable", name: str = "shoes") -> str:
    spec = place.spec.model_copy(update={"channel": channel})
    manifest = manifest_of(model).model_copy(update={"name": name})
    (release,), is_signed = publish([spec], "phone", name, model, manifest)
    assert is_signed
    return release.version


def states(place: Place) -> dict[tuple[str, str], list[tuple[str, int]]]:
    registry = signed.open_signed(place.root)
    assert registry is not None
    return {
        (one.name, one.channel): [(stage.release.version, stage.share) for stage in one.stages]
        for one in registry.channels()
    }


def signed_files(place: Place) -> dict[str, bytes]:
    """Everything but the audit log."""
    return {name: content for name, content in place.files.all().items() if "audit" not in name}


def test_push_is_signed_in_every_kind_of_registry(place: Place) -> None:
    old = push(place)
    new = push(place, OTHER, "canary")
    assert states(place) == {("shoes", "canary"): [(new, 10_000)], ("shoes", "stable"): [(old, 10_000)]}
    before = signed_files(place)
    assert push(place) == old
    assert signed_files(place) == before  # The same again signs nothing.
    address = f"{signed.normal(place.root)}/phone/shoes"
    signed.promote(f"{address}/{new}", "stable", 500)
    assert states(place)["shoes", "stable"] == [(new, 500), (old, 10_000)]
    found = place.current()
    assert found is not None and found.version == old
    signed.promote(f"{address}/{new}", "stable", 10_000)
    found = place.current()
    assert found is not None and found.version == new
    files = place.files.all()
    target = next(name for name in files if name.startswith("_tuf/targets/phone/shoes/"))
    assert json.loads(files[target])["version"] in {old, new}
    roles = {name: one for name, one in files.items() if name.endswith("phone.stable.json") and one.startswith(b"{")}
    role = Metadata.from_bytes(roles[max(roles)]).to_dict()
    stage = role["signed"]["targets"]["phone/shoes/stable.json"]["custom"]["edgemill"]["stages"][0]
    assert stage["release"]["statement"]["_type"] == "https://in-toto.io/Statement/v1"


def test_statement_has_what_the_release_was_made_from_and_the_first_run(folder: Place) -> None:
    parents = {"evaluation": "e" * 64, "decision": "d" * 64, "calibration": "c" * 64, "examples": "a" * 64}
    manifest = manifest_of(MODEL).model_copy(update={"parents": parents})
    for run in ("first", "second"):
        publish([folder.spec], "phone", "shoes", MODEL, manifest, lineage={"run": run, "chosen": "7", "blessing": "8"})
    registry = signed.open_signed(folder.root)
    assert registry is not None
    state = registry.channel("phone", "shoes", "stable")
    assert state.sequence == 1  # The second run made the same release, so nothing was signed.
    statement = state.stages[0].release.statement
    predicate = statement["predicate"]
    assert {one["name"]: one["digest"]["sha256"] for one in predicate["materials"]} == parents
    assert predicate["lineage"] == {"run": "first", "chosen": "7", "blessing": "8"}
    assert predicate["recipe"]["digest"]["sha256"] == sha256_of_bytes(manifest.recipe.model_dump_json().encode())
    found = folder.current()
    assert found is not None and found.manifest.compressed is not None
    _, artifact = artifact_of(found)
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        "model.tflite": found.manifest.sha256,
        "model.tflite.gz": found.manifest.compressed.sha256,
        "manifest.json": found.manifest_sha256,
        artifact_path(artifact): sha256_of_bytes(artifact),
    }
    publish([folder.spec], "phone", "shoes", MODEL, manifest.model_copy(update={"parents": {}}), lineage={"run": "3"})
    assert registry.channel("phone", "shoes", "stable").stages[0].release.statement["predicate"]["lineage"] == {
        "run": "3"
    }


def test_pushes_at_the_same_time_lose_no_release(place: Place) -> None:
    models = {f"model-{number}": MODEL + bytes([number]) for number in range(4)}
    threads = [threading.Thread(target=push, args=(place, model, "stable", name)) for name, model in models.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name for name, _ in states(place)} == set(models)
    assert len(states(place)) == 4


def test_killed_push_leaves_the_signed_set_as_it_was_or_new(folder: Place, tmp_path: Path) -> None:
    old, root, start = push(folder), Path(folder.root), tmp_path / "start"
    shutil.copytree(root, start)
    ends = []
    for step in range(1, 200, 3):
        shutil.rmtree(root)
        shutil.copytree(start, root)
        shutil.rmtree(tmp_path / "keys" / FOLDER_IN_KEYS)  # Or the older copy is refused.
        killed = killed_at(folder.root, step, lambda: push(folder, OTHER))
        ((version, share),) = states(folder)["shoes", "stable"]
        ends.append(version)
        assert share == 10_000
        if not killed:
            break
        if len(ends) % 8 == 0:  # What a killed push leaves doesn't block the next one.
            assert push(folder, OTHER) == states(folder)["shoes", "stable"][0][0] != old
    new = ends[-1]
    assert len(ends) > 10
    assert ends == [old] * ends.count(old) + [new] * ends.count(new)
    assert ends[0] == old != new


def test_refresh_extends_timestamp_and_snapshot_without_keys_of_channels(folder: Place, tmp_path: Path) -> None:
    push(folder)
    (tmp_path / "keys/phone.stable.pem").unlink()
    registry = signed.open_signed(folder.root)
    assert registry is not None
    before = registry.read()
    registry.commit(lambda _: {}, snapshot=True)
    after = registry.read()
    for name in ("timestamp", "snapshot"):
        assert getattr(after, name).signed.version == getattr(before, name).signed.version + 1
    assert after.timestamp.signed.expires - datetime.now(timezone.utc) > timedelta(days=6.99)
    with pytest.raises(
        RegistryError, match=r"not enough keys to sign as phone\.stable \(expected: 1 of .*; found: 0\)"
    ):
        push(folder, OTHER)


def test_refresh_signs_channels_and_targets_before_they_expire(folder: Place, tmp_path: Path) -> None:
    push(folder)
    registry = signed.open_signed(folder.root)
    assert registry is not None
    assert renew(registry) == ((), {})
    with at_day(200):
        (tmp_path / "keys/phone.beta.pem").rename(tmp_path / "beta.pem")
        again, missing = renew(registry)
        assert again == ("targets", "phone.canary", "phone.stable", "snapshot", "timestamp")
        assert set(missing) == {"root", "phone.beta"}
        (tmp_path / "beta.pem").rename(tmp_path / "keys/phone.beta.pem")
        assert renew(registry) == (("phone.beta", "snapshot", "timestamp"), {"root": missing["root"]})
        rotate(registry, "timestamp")
        assert renew(registry) == ((), {})
    with at_day(203):
        assert renew(registry) == ((), {})
    with at_day(204):
        assert renew(registry) == (("timestamp",), {})
    with at_day(220):
        assert renew(registry) == (("snapshot", "timestamp"), {})


@contextmanager
def at_day(days: int) -> Iterator[None]:
    """Shifts the clock of this machine's signatures."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    with mock.patch.object(clock, "datetime", Shifted):
        yield


def test_bad_settings_are_refused_before_a_run(folder: Place, tmp_path: Path) -> None:
    unsigned = LocalRegistry(root=str(tmp_path / "plain"))
    with pytest.raises(RegistryError, match=r"some of the registries are signed .*not signed: .*plain"):
        signed.check_signable([folder.spec, unsigned], ["phone"])
    signed.check_signable([unsigned], ["phone"])
    signed.check_signable([folder.spec], ["phone", "watch"])
    with pytest.raises(RegistryError, match=r"no such channel \(expected: one of canary, beta, stable; found: gamma\)"):
        signed.check_signable([folder.spec.model_copy(update={"channel": "gamma"})], ["phone"])
    with (
        mock.patch.dict(os.environ, {VARIABLE: ""}),
        pytest.raises(RegistryError, match="there is no key set for it here"),
    ):
        signed.check_signable([folder.spec], ["phone"])
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path)}), pytest.raises(SpecError, match="not a key set"):
        signed.check_signable([folder.spec], ["phone"])
    (tmp_path / "keys/targets.pem").unlink()
    with pytest.raises(RegistryError, match="not enough keys to sign as targets"):
        signed.check_signable([folder.spec], ["phone"])


def test_registry_is_signed_once_and_never_with_keys_of_another(folder: Place, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="already signed"):
        folder.sign(tmp_path / "more")
    with pytest.raises(SpecError, match="folder for the keys is not empty"):
        create(str(tmp_path / "new"), FolderStore(tmp_path / "new"), tmp_path / "keys")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").glob("*.pem")}
    assert set(modes.values()) == {0o600}
    assert {"root-1.pem", "root-2.pem", "root-3.pem", "targets.pem", "snapshot.pem", "timestamp.pem"} == set(modes)
    keys = read_key_set(tmp_path / "keys")
    root = Metadata.from_bytes(keys.root).signed
    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 3)
    assert {key.scheme for key in root.keys.values()} == {"ecdsa-sha2-nistp256"}


def test_keys_come_from_the_environment_too(folder: Place, tmp_path: Path) -> None:
    push(folder)
    file = tmp_path / "keys/keys.json"
    file.write_text(file.read_text().replace("file:phone.stable.pem", "env:STABLE_KEY"))
    pem = (tmp_path / "keys/phone.stable.pem").read_text()
    with pytest.raises(SpecError, match=r"variable of a private key is not set \(expected: STABLE_KEY\)"):
        push(folder, OTHER)
    another = (tmp_path / "keys/phone.beta.pem").read_text()
    with mock.patch.dict(os.environ, {"STABLE_KEY": another}), pytest.raises(SpecError, match="a different public key"):
        push(folder, OTHER)
    with mock.patch.dict(os.environ, {"STABLE_KEY": "no key"}), pytest.raises(EdgemillError, match="cannot be used"):
        push(folder, OTHER)
    with mock.patch.dict(os.environ, {"STABLE_KEY": pem}):
        assert push(folder, OTHER) == states(folder)["shoes", "stable"][0][0]


def test_changes_read_lists_once_and_nothing_of_other_device_classes(place: Place, store: Store) -> None:
    if store.gateway is None:
        pytest.skip("a folder has no requests")
    registry = signed.open_signed(place.root)
    assert registry is not None
    add_device_class(registry, "watch", lambda: None)
    push(place)
    store.gateway.requests.clear()
    version = push(place, OTHER, "canary")
    if store.kind == "s3":  # The others need several requests to read one file.
        assert [".targets.json" in one for one in store.gateway.requests].count(True) == 1
    signed.promote(f"{place.root}/phone/shoes/{version}", "stable", rollout.FULL_SHARE)
    assert [one for one in store.gateway.requests if "watch." in one] == []


def as_secret(folder: Path, *names: str) -> Path:
    """A key set as Kubeflow mounts it: links by way of `..data`, and files that others can read."""
    mounted = folder / "mounted"
    (data := mounted / "..2026_01_01").mkdir(parents=True)
    for name in names:
        (data / name).write_bytes((folder / "keys" / name).read_bytes())
        (data / name).chmod(0o644)
        (mounted / name).symlink_to(Path("..data", name))
    (mounted / "..data").symlink_to(data.name)
    return mounted


def test_device_class_that_was_delegated_is_pushed_to_from_a_secret_without_other_keys(
    folder: Place, tmp_path: Path
) -> None:
    registry = signed.open_signed(folder.root)
    assert registry is not None
    said: list[str] = []
    assert add_device_class(registry, "phone", lambda: said.append("x")) == (
        "phone.canary", "phone.beta", "phone.stable",
    )  # fmt: skip
    before = folder.files.all()
    assert add_device_class(registry, "phone", lambda: said.append("x")) == ()
    assert (folder.files.all(), said) == (before, ["x"])
    mounted = as_secret(tmp_path, "keys.json", "root.json", "snapshot.pem", "timestamp.pem", "phone.stable.pem")
    with mock.patch.dict(os.environ, {VARIABLE: str(mounted)}):
        signed.check_signable([folder.spec], ["phone"])
        version = push(folder)
        assert states(folder) == {("shoes", "stable"): [(version, 10_000)]}
        with pytest.raises(RegistryError, match=r"not enough keys to sign as phone\.beta"):
            push(folder, channel="beta")


def test_keys_of_a_new_device_class_are_not_lost_in_a_folder_that_can_only_be_read(
    folder: Place, tmp_path: Path
) -> None:
    mounted = as_secret(tmp_path, "keys.json", "root.json", "snapshot.pem", "timestamp.pem", "targets.pem")
    said = r"mounted: no key can be added to this key set, .*edgemill registry delegate REGISTRY DEVICE_CLASS"
    with mock.patch.dict(os.environ, {VARIABLE: str(mounted)}):
        with pytest.raises(RegistryError, match=said):
            signed.check_signable([folder.spec], ["phone"])
        with pytest.raises(RegistryError, match=said):
            push(folder)
    assert states(folder) == {}


@pytest.mark.parametrize("mode", [0o666, 0o755])
def test_key_of_a_secret_that_others_can_change_or_run_is_refused(folder: Place, tmp_path: Path, mode: int) -> None:
    push(folder)
    mounted = as_secret(tmp_path, "keys.json", "root.json", "snapshot.pem", "timestamp.pem", "phone.stable.pem")
    (mounted / "phone.stable.pem").resolve().chmod(mode)
    with (
        mock.patch.dict(os.environ, {VARIABLE: str(mounted)}),
        pytest.raises(SpecError, match="this private key is open to other users"),
    ):
        push(folder, OTHER)


class KeyService(CryptoSigner):
    """A signer of securesystemslib for URIs of its own, as those of key services are."""

    keys: ClassVar[dict[str, CryptoSigner]] = {}

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> CryptoSigner:
        return cls.keys[priv_key_uri]


def test_key_in_a_key_service_signs_after_rotation(folder: Place, tmp_path: Path) -> None:
    push(folder)
    one, other = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ecdsa()
    KeyService.keys = {"service:one": one, "service:other": other}
    pem = str(one.public_key.keyval["public"]).encode()
    registry = signed.open_signed(folder.root)
    assert registry is not None
    with mock.patch.dict(SIGNER_FOR_URI_SCHEME, {"service": KeyService}):
        for role in ("phone.stable", "timestamp"):
            rotate(registry, role, (pem, "service:one"))
        version = push(folder, OTHER)
        assert states(folder)["shoes", "stable"] == [(version, 10_000)]
        assert read_key_set(tmp_path / "keys").file.development
        before = folder.files.all()
        for wrong in ("service:other", "service:nothing", "unknown:x"):
            with pytest.raises(SpecError, match=r"the key cannot sign|cannot be used"):
                rotate(registry, "snapshot", (pem, wrong))
        with pytest.raises(SpecError, match="public key cannot be read"):
            rotate(registry, "snapshot", (b"nothing", "env:X"))
        assert folder.files.all() == before


def test_key_service_whose_name_comes_to_mean_another_key_signs_nothing(folder: Place) -> None:
    push(folder)
    one, other = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ecdsa()
    KeyService.keys = {"service:alias": one}
    registry = signed.open_signed(folder.root)
    assert registry is not None
    with mock.patch.dict(SIGNER_FOR_URI_SCHEME, {"service": KeyService}):
        rotate(registry, "snapshot", (str(one.public_key.keyval["public"]).encode(), "service:alias"))
        before = states(folder)
        other._public_key = one.public_key
        KeyService.keys = {"service:alias": other}
        with pytest.raises(RegistryError, match=r"a key cannot sign: .*permission to sign"):
            push(folder, OTHER)
        assert states(folder) == before


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa", "p384"])
def test_keys_of_other_kinds_are_refused(folder: Place, algorithm: str) -> None:
    private = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }[algorithm]()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    registry = signed.open_signed(folder.root)
    assert registry is not None
    with pytest.raises(SpecError, match=r"a different kind than the registry's keys .expected: a P-256 key"):
        rotate(registry, "timestamp", (pem, "env:ANY"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("gcpkms:projects/x", r"google-cloud-kms .*pip install 'securesystemslib\[gcpkms\]'"),
        ("hv:key/1", r"HashiCorp Vault requires hvac .*pip install 'securesystemslib\[vault\]'"),
        ("azurekms://v.vault.azure.net/keys/k/1", r"azure-keyvault-keys .*pip install 'securesystemslib\[azurekms\]'"),
        ("hsm:2", r"python-pkcs11.*pip install 'securesystemslib\[hsm\]'"),
    ],
)
def test_missing_client_of_a_key_service_is_named(folder: Place, uri: str, said: str) -> None:
    if uri.startswith("gcpkms:"):
        with suppress(ImportError):
            importlib.import_module("google.cloud.kms")
            pytest.skip("Beam's requirements on TFX 1.21 include the client")
    pem = str(CryptoSigner.generate_ecdsa().public_key.keyval["public"]).encode()
    registry = signed.open_signed(folder.root)
    assert registry is not None
    before = folder.files.all()
    with pytest.raises(SpecError, match=rf"not installed: .*{said}"):
        rotate(registry, "timestamp", (pem, uri))
    assert folder.files.all() == before


def test_key_in_the_key_service_of_amazon_signs_everything(
    folder: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(self: Any, message: bytes, signing_algorithm: str) -> bytes:
        # Unlike Amazon, moto takes the digest that `MessageType=DIGEST` announces for a message.
        return bytes(self.private_key.sign(message, ec.ECDSA(Prehashed(SHA256()))))

    monkeypatch.setattr(ECDSAPrivateKey, "sign", sign)
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    push(folder)
    registry = signed.open_signed(folder.root)
    assert registry is not None
    with mock_aws():
        client = boto3.client("kms")
        for role in ("root", "targets", "snapshot", "timestamp", "phone.stable"):
            key = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
            client.create_alias(AliasName=f"alias/{role.replace('.', '-')}", TargetKeyId=key)
            public = load_der_public_key(client.get_public_key(KeyId=key)["PublicKey"])
            pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            rotate(registry, role, (pem, f"awskms:alias/{role.replace('.', '-')}"))
        version = push(folder, OTHER)
        assert states(folder)["shoes", "stable"] == [(version, 10_000)]
        used = read_key_set(tmp_path / "keys").file.keys.values()
        assert sum(place.startswith("awskms:") for place in used) == 5
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(SpecError, match="cannot be used: You must specify a region"):
            push(folder)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client.delete_alias(AliasName="alias/phone-stable")
        with pytest.raises(RegistryError, match=r"a key cannot sign: .*NotFoundException"):
            push(folder)


def test_channel_refuses_what_its_state_does_not_allow(folder: Place) -> None:
    version = push(folder)
    address = f"{folder.root}/phone/shoes"
    refused = r"cannot be changed: there is no earlier release \(expected: .*; found: [0-9a-f]{16} 100 %\)"
    with pytest.raises(RegistryError, match=refused):
        signed.change(address, "stable", rollout.rolled_back, "rollback")
    registry = folder.open()
    planted = registry.put("phone", "shoes", OTHER, manifest_of(OTHER))
    with pytest.raises(RegistryError, match=rf"no channel has signed this release \(expected: {version}"):
        signed.promote(planted.path, "stable", 10_000)
    with pytest.raises(RegistryError, match="there is no such role"):
        rotate_role = signed.open_signed(folder.root)
        assert rotate_role is not None
        rotate(rotate_role, "phone.gamma")


def test_rollback_to_a_release_signs_it(folder: Place, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = push(folder), push(folder, OTHER)
    with (
        mock.patch.dict(os.environ, {VARIABLE: ""}),
        pytest.raises(RegistryError, match="there is no key set for it here"),
    ):
        roll_back(f"{folder.root}/phone/shoes/{old}", "stable", None, None, files_only=True)
    assert states(folder)["shoes", "stable"] == [(new, 10_000)]
    roll_back(f"{folder.root}/phone/shoes/{old}", "stable", None, None, files_only=True)
    assert capsys.readouterr().out == f"stable of shoes for phone: {old}, signed\n"
    found = folder.current()
    assert found is not None and found.version == old
    assert states(folder)["shoes", "stable"] == [(old, 10_000)]


def rotate_in(place: Place, role: str) -> None:
    registry = signed.open_signed(place.root)
    assert registry is not None
    rotate(registry, role)


@pytest.mark.parametrize("role", ["timestamp", "targets", "phone.stable"])
def test_killed_rotation_leaves_a_set_that_verifies(folder: Place, tmp_path: Path, role: str) -> None:
    version = push(folder)
    start = tmp_path / "start"
    for name in ("registry", "keys"):
        shutil.copytree(tmp_path / name, start / name)
    killed = 0
    for step in range(1, 200, 5):
        for name in ("registry", "keys"):
            shutil.rmtree(tmp_path / name)
            shutil.copytree(start / name, tmp_path / name)
        is_killed = killed_at(folder.root, step, lambda: rotate_in(folder, role))
        assert states(folder)["shoes", "stable"] == [(version, 10_000)]
        if not is_killed:
            break
        killed += 1
    assert killed > 3
    # The keys are still there to push.
    assert push(folder, OTHER) == states(folder)["shoes", "stable"][0][0]


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json", "1.snapshot.json"])
def test_pipe_or_endless_device_instead_of_metadata_does_not_stop_an_honest_command(folder: Place, name: str) -> None:
    path = Path(folder.root) / "_tuf" / name
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RegistryError, match="cannot be used: Not a regular file"):
        push(folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(RegistryError, match="cannot be used: Not a regular file"):
        push(folder)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(10**10)  # Takes no room on the disk.
    with pytest.raises(RegistryError, match=r"is refused: it is too long .*at most 50,000,000 bytes"):
        push(folder)
    path.write_bytes(content)
    push(folder)


@pytest.mark.parametrize("fault", [ANSWER_LOST, (503, "")], ids=["answer lost", "503"])
def test_fault_at_any_request_of_a_push_leaves_the_old_release_signed_or_the_new_one(
    place: Place, store: Store, fault: Fault
) -> None:
    if store.gateway is None:
        pytest.skip("a folder has no requests; killed pushes are tested there")
    old = push(place)
    store.gateway.requests.clear()
    push(place, OTHER)
    steps = len(store.gateway.requests)
    assert steps > 10
    for step in range(2, steps, max(1, steps // 3)):
        before = states(place)["shoes", "stable"][0][0]
        model = MODEL + bytes([step])

        def fail(number: int, line: str, last: int = step) -> Fault:
            return fault if number == last else None

        store.gateway.reset()
        store.gateway.fault = fail
        with suppress(RegistryError):
            push(place, model)
        store.gateway.reset()
        new = sha256_of_bytes(model)[:16]
        assert states(place)["shoes", "stable"] in ([(before, 10_000)], [(new, 10_000)])
        assert push(place, model) == new == states(place)["shoes", "stable"][0][0]
    assert old in place.versions()


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_lost_key_of_a_top_level_role_is_replaced(folder: Place, tmp_path: Path, role: str) -> None:
    push(folder)
    (tmp_path / f"keys/{role}.pem").unlink()
    registry = signed.open_signed(folder.root)
    assert registry is not None
    with pytest.raises(RegistryError, match="not enough keys"):
        rotate(registry, "phone.stable" if role == "targets" else "targets")
    rotate(registry, role)
    assert not list((tmp_path / "keys").glob("timestamp-for-root-*"))
    version = push(folder, OTHER)
    assert states(folder)["shoes", "stable"] == [(version, 10_000)]
    rotate(registry, "phone.stable")
    rotate(registry, "targets")


def test_killed_replacement_of_a_lost_key_is_finished_by_the_next_rotation(folder: Place, tmp_path: Path) -> None:
    push(folder)
    keys, start, first_keys = tmp_path / "keys", tmp_path / "start", tmp_path / "first-keys"
    (keys / "timestamp.pem").unlink()
    shutil.copytree(folder.root, start)
    shutil.copytree(keys, first_keys)
    killed, step = True, 0
    while killed:
        for kept, copy in ((Path(folder.root), start), (keys, first_keys)):
            shutil.rmtree(kept)
            shutil.copytree(copy, kept)
        step += 2
        killed = killed_at(folder.root, step, lambda: rotate_in(folder, "timestamp"))
        rotate_in(folder, "timestamp")
        assert push(folder, OTHER) == states(folder)["shoes", "stable"][0][0]
    assert step > 8


def test_key_to_replace_is_chosen_by_its_id(folder: Place, tmp_path: Path) -> None:
    """One of three keys of the root is lost."""
    registry = signed.open_signed(folder.root)
    assert registry is not None
    first, second, third = registry.read().root.signed.roles["root"].keyids
    (tmp_path / "keys/root-2.pem").unlink()
    for wrong in ("zz", second + "0"):
        with pytest.raises(SpecError, match="not the beginning of the ID of one key"):
            rotate(registry, "root", old=wrong)
    assert rotate(registry, "root", old=second[:12]) == second
    kept = registry.read().root.signed.roles["root"].keyids
    assert len(kept) == 3
    assert {first, third} < set(kept) and second not in kept
    (tmp_path / "keys/root-1.pem").unlink()
    rotate(registry, "snapshot")  # The new key and the third one are two of three.
    push(folder)
