"""What a thief of single keys can sign: devices and honest commands refuse it by message, and a rotation ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets

from components.core.errors import EdgemillError, RegistryError, SpecError
from components.device_client.errors import AlarmError, UnreachableError
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.push import signed
from components.push.upkeep.check import verify
from components.push.upkeep.repair import repair
from components.trust import rollout
from components.trust.names import CUSTOM
from components.trust.repository import sign
from components.trust.role_file import read
from components.trust.rollout import LARGEST_SEQUENCE, RolloutError
from components.trust.setup import rotate
from components.trust.signed_set import SignedSet, read_role
from tests.components.device_client.fleet import NEW, OLD, OTHER, Fleet, model_of

TARGET = "phone/shoes/stable.json"
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def device(fleet: Fleet) -> DeviceFolder:
    fleet.push(OLD)
    device = fleet.device()
    pull(device)
    return device


def sign_role(fleet: Fleet, role: str, change: Callable[[Targets], object]) -> None:
    """Sign a role with its own key, whatever it holds then."""
    registry = fleet.registry()

    def edit(found: SignedSet) -> dict[str, Metadata[Targets]]:
        metadata = read_role(registry.store, found, role, registry.where)
        assert metadata is not None
        change(metadata.signed)
        return {role: metadata}

    registry.commit(edit)


def custom_of(signed_role: Targets) -> dict[str, Any]:
    custom: dict[str, Any] = signed_role.targets[TARGET].unrecognized_fields["custom"]
    return custom


def release_with(**values: object) -> Edit:
    return lambda state: state["stages"][0]["release"].update(values)


def stage_with(**values: object) -> Edit:
    return lambda state: state["stages"][0].update(values)


ODD_STATES: list[Edit] = [
    *(release_with(bytes=value) for value in (-1, "8", None, True, 2**32, 10**400)),
    *(release_with(file_bytes=value) for value in (-1, "8", None, False, 2**62)),
    *(
        release_with(**{name: value})
        for name in ("version", "sha256", "file", "file_sha256")
        for value in (5, None, [])
    ),
    *(release_with(statement=value) for value in ([], "text", None)),
    *(stage_with(share=value) for value in (0, -1, 10_001, "10000", True, "9" * 5_000)),
    stage_with(paused=1),
    lambda state: state.update(stages={}),
    lambda state: state.update(history="text"),
    lambda state: state.update(format=2),
    lambda state: state.update(format=[1]),
    *(lambda state, value=value: state.update(sequence=value) for value in (-1, 2**32, True, "1")),
    lambda state: state.pop("name"),
    lambda state: state.update(name=["shoes"]),
    lambda state: state.clear(),
]


@pytest.mark.parametrize("edit", ODD_STATES)
def test_state_that_is_signed_and_odd_is_refused(edit: Edit) -> None:
    release = rollout.ReleaseRef("0" * 16, "0" * 64, 8, "model.tflite", "0" * 64, 8, {})
    state = json.loads(
        json.dumps(rollout.to_json(rollout.ChannelState("phone", "shoes", "stable", (rollout.Stage(release),))))
    )
    assert rollout.from_json(state).stages[0].release == release
    edit(state)
    with pytest.raises(RolloutError):
        rollout.from_json(state)


@pytest.mark.parametrize(
    "change",
    [
        lambda role: custom_of(role)[CUSTOM].update(stages={}),
        lambda role: custom_of(role).update({CUSTOM: [1]}),
        lambda role: custom_of(role).clear(),
        lambda role: role.targets[TARGET].unrecognized_fields.update(custom=[1]),
        lambda role: role.targets[TARGET].unrecognized_fields.update(custom=None),
        lambda role: custom_of(role)[CUSTOM].update(device_class="watch"),
    ],
)
def test_odd_channel_alarms_devices_stops_pushes_and_is_dropped_by_a_rotation(
    fleet: Fleet, device: DeviceFolder, change: Callable[[Targets], object]
) -> None:
    fleet.push(NEW)
    sign_role(fleet, "phone.stable", change)
    with pytest.raises(AlarmError):
        pull(device)
    assert model_of(device) == OLD
    with pytest.raises(RegistryError, match=r"signed, but can't be used: .*rotate"):
        fleet.push(OTHER)
    assert "phone.stable: phone/shoes/stable.json" in fleet.registry().problems()
    said: list[str] = []
    rotate(fleet.registry(), "phone.stable", announce=said.append)
    assert [one.partition(":")[0] for one in said] == [f"dropped {TARGET}"]
    assert fleet.registry().problems() == {}
    fleet.push(OTHER)
    pull(device)
    assert model_of(device) == OTHER
    # Microcontrollers have seen the number 2.
    assert fleet.registry().channel("phone", "shoes", "stable").sequence > 2


def test_number_of_a_channel_that_was_removed_continues(fleet: Fleet, device: DeviceFolder) -> None:
    for model in (NEW, OLD, OTHER):
        fleet.push(model)
    before = fleet.registry().channel("phone", "shoes", "stable").sequence
    sign_role(fleet, "phone.stable", lambda role: role.targets.clear())
    with pytest.raises(UnreachableError, match="no release for this device"):
        pull(device)
    fleet.push(NEW)
    assert fleet.registry().channel("phone", "shoes", "stable").sequence > before


def test_number_that_a_thief_drove_to_its_end_restarts_with_the_next_key(fleet: Fleet, device: DeviceFolder) -> None:
    sign_role(fleet, "phone.stable", lambda role: custom_of(role)[CUSTOM].update(sequence=LARGEST_SEQUENCE))
    with pytest.raises(RegistryError, match=r"can no longer be changed.*rotate"):
        fleet.push(NEW)
    said: list[str] = []
    rotate(fleet.registry(), "phone.stable", announce=said.append)
    assert said == [f"restarted the number of {TARGET}: 4,294,967,295 becomes 2"]
    fleet.push(NEW)
    gateway = fleet.device(gateway=True)
    pull(gateway)
    assert read((gateway.path / "current/role.bin").read_bytes())[0].version == 3
    pull(device)
    assert model_of(device) == NEW


def plant(fleet: Fleet, role: str, path: str = TARGET) -> None:
    """Sign, with the key of another role, that the phones' stable channel has NEW."""
    fleet.push(NEW, "canary")
    ref = fleet.registry().channel("phone", "shoes", "canary").stages[0].release
    state = rollout.ChannelState("phone", "shoes", "stable", (rollout.Stage(ref),), sequence=9)
    target = TargetFile.from_data(path, b"x", ["sha256"])
    target.unrecognized_fields["custom"] = {CUSTOM: json.loads(json.dumps(rollout.to_json(state)))}
    sign_role(fleet, role, lambda signed_role: signed_role.targets.update({path: target}))


@pytest.mark.parametrize("path", [TARGET, "watch/shoes/stable.json", "watch/../phone/shoes/stable.json"])
@pytest.mark.parametrize("role", ["phone.canary", "watch.stable"])
def test_role_that_signs_the_channel_of_another_changes_nothing(
    fleet: Fleet, device: DeviceFolder, role: str, path: str
) -> None:
    watch = fleet.push(OTHER, device_class="watch")
    plant(fleet, role, path)
    assert pull(device).version == pull(device).before
    assert model_of(device) == OLD
    states = {(one.device_class, one.channel): one for one in fleet.registry().channels()}
    assert states["phone", "stable"].stages[0].release.version == device.version()
    assert states["phone", "stable"].sequence == 1
    if ("watch", "stable") in states:
        assert states["watch", "stable"].stages[0].release.version == watch
    assert list(fleet.registry().problems()) == [f"{role}: {path}"]
    health = verify(str(fleet.root))
    assert any(path in str(one) and "can't be used" in str(one) for one in health.problems)
    # Nor can anybody be led to promote what only the thief of another class has signed.
    assert fleet.registry().channel("phone", "shoes", "stable").sequence == 1


def test_release_that_only_another_class_has_signed_cannot_be_promoted(fleet: Fleet, device: DeviceFolder) -> None:
    fleet.push(OTHER, device_class="watch")
    plant(fleet, "watch.stable")
    new = fleet.registry().channel("phone", "shoes", "canary").stages[0].release.version
    fleet.push(OLD, "canary")
    path = "phone/shoes/canary.json"
    sign_role(fleet, "phone.canary", lambda role: role.targets[path].custom[CUSTOM].update(history=[]))
    with pytest.raises(RegistryError, match="no channel has signed this release"):
        signed.promote(f"{fleet.root.resolve()}/phone/shoes/{new}", "stable", 10_000)


@pytest.mark.parametrize("version", [2**31, 2**63, 10**30])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "phone.stable"])
def test_versions_far_ahead_are_followed_by_the_next_push(
    fleet: Fleet, device: DeviceFolder, role: str, version: int
) -> None:
    """The fast-forward attack."""
    registry = fleet.registry()

    def edit(found: SignedSet) -> dict[str, Metadata[Targets]]:
        match role:
            case "timestamp":
                found.timestamp.signed.version = version
            case "snapshot":
                found.snapshot.signed.version = version
            case _:
                metadata = read_role(registry.store, found, role, registry.where) or found.targets
                found.snapshot.signed.meta[f"{role}.json"].version = version
                return {role: metadata}
        return {}

    registry.commit(edit, snapshot=True)
    pull(device)
    rotate(fleet.registry(), role)
    fleet.push(NEW)
    pull(device)
    assert model_of(device) == NEW


def test_version_that_nothing_can_follow_is_refused_by_message(fleet: Fleet, device: DeviceFolder) -> None:
    path = fleet.root / "_tuf/timestamp.json"
    honest = path.read_bytes()
    registry = fleet.registry()
    found = registry.read()
    signers = registry.signers_of(found.root.signed, "timestamp")
    found.timestamp.signed.version = int("9" * 4_300)
    path.write_bytes(sign(found.timestamp, signers))
    pull(device)
    for do in (lambda: fleet.push(NEW), lambda: rotate(fleet.registry(), "timestamp")):
        with pytest.raises(RegistryError, match="so large that there is no next one"):
            do()
    # The way out: the last good timestamp from a copy, and another key.
    path.write_bytes(honest)
    rotate(fleet.registry(), "timestamp")
    fleet.push(NEW)
    pull(device)
    assert model_of(device) == NEW


def test_timestamp_that_leads_nowhere_is_ended_by_a_rotation(fleet: Fleet, device: DeviceFolder) -> None:
    """Devices remember the version of the snapshot, and would refuse smaller ones until the key is replaced."""
    mirror = fleet.copy("mirror")
    path = fleet.root / "_tuf/timestamp.json"
    honest = path.read_bytes()
    registry = fleet.registry()
    found = registry.read()
    found.timestamp.signed.version += 1
    found.timestamp.signed.snapshot_meta = MetaFile(1_000_000)
    path.write_bytes(sign(found.timestamp, registry.signers_of(found.root.signed, "timestamp")))
    with pytest.raises(UnreachableError, match="404"):
        pull(device)
    with pytest.raises(RegistryError, match=r"1000000\.snapshot\.json.*it is missing"):
        rotate(fleet.registry(), "timestamp")
    repair(str(fleet.root), sources=[str(mirror)])
    assert path.read_bytes() == honest
    fleet.push(NEW)
    fleet.push(OTHER)
    with pytest.raises(AlarmError, match="New snapshot version must be >= 1000000"):
        pull(device)
    rotate(fleet.registry(), "timestamp")
    pull(device)
    assert model_of(device) == OTHER


def test_snapshot_that_lists_no_targets_is_refused_by_message(fleet: Fleet, device: DeviceFolder) -> None:
    registry = fleet.registry()

    def edit(found: SignedSet) -> dict[str, Metadata[Targets]]:
        del found.snapshot.signed.meta["targets.json"]
        return {}

    registry.commit(edit, snapshot=True)
    with pytest.raises(AlarmError):
        pull(device)
    with pytest.raises(RegistryError, match=r"it doesn't list targets\.json"):
        fleet.push(NEW)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "phone.stable"])
def test_key_that_already_signs_a_role_cannot_replace_one_of_it(fleet: Fleet, device: DeviceFolder, role: str) -> None:
    found = fleet.registry().read()
    by = found.targets.signed if "." in role else found.root.signed
    places = json.loads((fleet.keys / "keys.json").read_bytes())["keys"]
    for keyid in by.get_delegated_role(role).keyids:
        pem = by.get_key(keyid).keyval["public"].encode()
        with pytest.raises(SpecError, match="this key already signs the role"):
            rotate(fleet.registry(), role, (pem, places[keyid]))
    fleet.push(NEW)
    pull(device)
    assert model_of(device) == NEW


def test_chain_of_more_roots_than_the_client_follows_by_default(fleet: Fleet, device: DeviceFolder) -> None:
    registry = fleet.registry()
    root = registry.read().root
    signers = registry.signers_of(root.signed, "root")
    for version in range(2, 302):
        root.signed.version = version
        (fleet.root / f"_tuf/{version}.root.json").write_bytes(sign(root, signers))
    rotate(fleet.registry(), "timestamp")
    fleet.push(NEW)
    for one in (device, fleet.device()):
        pull(one)
        assert model_of(one) == NEW


def test_revoked_key_with_a_hidden_root_is_refused_by_devices_that_saw_it(fleet: Fleet, device: DeviceFolder) -> None:
    before = fleet.copy("before")
    rotate(fleet.registry(), "timestamp")
    pull(device)
    fleet.restore(before)
    fleet.push(NEW)
    with pytest.raises(AlarmError, match="timestamp was signed by 0/1 keys"):
        pull(device)
    assert model_of(device) == OLD


@pytest.mark.parametrize("times", [2, 3])
def test_one_key_under_several_names_meets_no_threshold(fleet: Fleet, device: DeviceFolder, times: int) -> None:
    """A thief of one root key signs a new root with it, under the names of the others."""
    registry = fleet.registry()
    root = registry.read().root
    (signer, *_), names = registry.signers_of(root.signed, "root"), root.signed.roles["root"].keyids
    root.signed.version = 2
    root.signatures.clear()
    for name in names[:times]:
        signature = signer.sign(root.signed_bytes)
        signature.keyid = name
        root.signatures[name] = signature
    root.to_file(str(fleet.root / "_tuf/2.root.json"))
    with pytest.raises(AlarmError, match="root was signed by 1/2 keys"):
        pull(device)
    with pytest.raises(RegistryError, match="root was signed by 1/2 keys"):
        fleet.push(NEW)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"version":', '"version":99,"version":', 1),
        lambda text: text.replace("{", '{"signed":{},', 1),
        lambda text: " " + text.replace(",", " ,\n"),
    ],
)
def test_duplicate_names_and_spaces_in_json_change_nothing_that_is_read(
    fleet: Fleet, device: DeviceFolder, change: Callable[[str], str]
) -> None:
    fleet.push(NEW)
    path = fleet.root / "_tuf/timestamp.json"
    path.write_text(change(path.read_text()))
    try:
        pull(device)
        assert model_of(device) == NEW
    except AlarmError:
        assert model_of(device) == OLD
    else:
        fleet.push(OTHER)  # An honest push reads the same.
        pull(device)
        assert model_of(device) == OTHER


@pytest.mark.parametrize("version", ["2.0", "true", "-1", "0", '"2"', "null", "1e3", "NaN", "9" * 5_000])
def test_versions_that_are_no_integers_are_refused(fleet: Fleet, device: DeviceFolder, version: str) -> None:
    path = fleet.root / "_tuf/timestamp.json"
    fleet.push(NEW)
    text = path.read_text()
    number = json.loads(text)["signed"]["version"]
    path.write_text(text.replace(f'"version":{number}', f'"version":{version}'))
    with pytest.raises(AlarmError):
        pull(device)
    with pytest.raises(EdgemillError, match="is refused"):
        fleet.push(OTHER)
    assert model_of(device) == OLD
