"""One table of attacks on devices, for every kind of registry, by someone who controls the store or the network.

The device runs OLD. It must keep it while the attack lasts, and install NEW as soon as it is over. `test_attacks` has
attacks with stolen keys, and on honest pushes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import boto3
import pytest
from tuf.api.metadata import Metadata, Root

from components.core.compression import gzip_of
from components.core.files import sha256_of_bytes
from components.device_client.errors import AlarmError, DeviceError, UnreachableError
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.trust.setup import rotate
from tests.components.device_client.fleet import ENDLESS as MOST_BYTES
from tests.components.device_client.fleet import NEW, OLD, OTHER, Server, clock, model_of
from tests.components.push.places import KINDS, Place, signed_in, store_of
from tests.forked import EVERY_STEP
from tests.gateway import CUT, DROPPED, ENDLESS, Fault, Gateway, gateway_to
from tests.object_store import BUCKET

# The files that the device needs for NEW. The root is that of a rotated key of the timestamp.
ROLES = ("root", "timestamp", "snapshot", "targets", "phone.stable")
NEEDED = (*ROLES, "model")
T = TypeVar("T")
_QUICK_LOCK = {"WRITE_SECONDS": 0.3, "WAIT_SECONDS": 0.05, "_PAUSE_SECONDS": 0.02}


@dataclass
class World:
    """A signed registry in a store, a device that follows it, and what the registry held before.

    Attributes:
        sets: All files of the registry after each push: first OLD, then releases of other device classes, then NEW.
    """

    place: Place
    gateway: Gateway
    url: str
    folder: Path
    sets: list[dict[str, bytes]] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    devices: int = 0

    @property
    def thorough(self) -> bool:
        """Whether the suite makes the complete table: for a web server and an OCI registry, which devices read."""
        return self.place.spec.kind in {"local", "oci"}

    def some(self, cases: Sequence[T]) -> Sequence[T]:
        """All cases, or one of three in the suite for buckets, whose files devices read as those of a web server."""
        return cases if EVERY_STEP or self.thorough else cases[::3]

    def push(self, model: bytes, device_class: str = "phone", channel: str = "stable") -> None:
        self.place.publish(model, channel, device_class=device_class)
        self.sets.append(self.place.files.all())

    def device(self) -> DeviceFolder:
        """A device that runs OLD, and trusts what was signed then."""
        self.devices += 1
        copy = self.folder / f"device-{self.devices}"
        return DeviceFolder(Path(shutil.copytree(self.folder / "device", copy, symlinks=True)))

    def name(self, what: str, number: int = -1) -> str:
        """The name of a file that is in force in one of the sets."""
        files = self.sets[number]
        if what == "model":
            return f"phone/shoes/{sha256_of_bytes(NEW)[:16]}/model.tflite.gz"
        if what == "timestamp":
            return "_tuf/timestamp.json"
        if what == "root":
            return "_tuf/2.root.json"
        meta = json.loads(files["_tuf/timestamp.json"])["signed"]["meta"]["snapshot.json"]
        snapshot = f"_tuf/{meta['version']}.snapshot.json"
        if what == "snapshot":
            return snapshot
        return f"_tuf/{json.loads(files[snapshot])['signed']['meta'][f'{what}.json']['version']}.{what}.json"

    def good(self, what: str, number: int = -1) -> bytes:
        return self.sets[number][self.name(what, number)]

    def damage(self, what: str, content: bytes | None) -> None:
        """Replace or remove a file of the newest set."""
        name = self.name(what)
        if content is None:
            self.place.files.remove(name)
        else:
            self.place.files.write(name, content)
        self.changed.add(name)

    def go_back(self, number: int) -> None:
        """Serve one of the sets again, with what was written later still there."""
        for name in ("_tuf/timestamp.json", *(name for name in self.sets[number] if name.startswith("_tuf/"))):
            if self.sets[number][name] != self.sets[-1][name]:
                self.place.files.write(name, self.sets[number][name])
                self.changed.add(name)

    def heal(self) -> None:
        self.gateway.reset()
        for name in self.changed:
            self.place.files.write(name, self.sets[-1][name])
        self.changed.clear()

    def asks_for(self, what: str, line: str) -> bool:
        """Whether a request is for a file."""
        if self.place.spec.kind == "oci":
            return f"blobs/sha256:{sha256_of_bytes(self.good(what))}" in line
        return line.endswith(f"/{self.name(what)}")

    def fault(self, what: str, fault: Fault) -> None:
        self.gateway.fault = lambda number, line: fault if self.asks_for(what, line) else None


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        store = stack.enter_context(store_of(request.param, _QUICK_LOCK))
        place, gateway = store.place(folder / "registry"), store.gateway
        if gateway is None:
            server = Server(folder / "registry")
            stack.callback(server.close)
            gateway = stack.enter_context(gateway_to(server.url))
        if store.kind == "s3":
            make_public()
        # Object stores serve the files of a public bucket at these addresses.
        path = "" if store.kind == "local" else f"/{place.root.partition('://')[2]}"
        world = World(place, gateway, place.root if store.kind == "oci" else f"{gateway.url}{path}", folder)
        stack.enter_context(signed_in(place, folder / "keys"))
        world.push(OLD)
        device = DeviceFolder(folder / "device")
        device.create(Settings(world.url, "phone", "shoes", "stable", "1"), (folder / "keys/root.json").read_bytes())
        pull(device)
        world.push(OTHER, channel="beta")
        world.push(OTHER, "watch")
        rotate(place.registry(), "timestamp")
        world.push(OTHER, "tablet")
        world.push(NEW)
        yield world


def make_public() -> None:
    """Let everybody read the bucket, so that devices need no credentials."""
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    boto3.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=policy)


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.heal()


def assert_refused(world: World, device: DeviceFolder, said: str, error: type[DeviceError] = AlarmError) -> None:
    with pytest.raises(error, match=said) as caught:
        pull(device)
    assert "the device keeps its model" in str(caught.value)
    assert model_of(device) == OLD


def assert_over(world: World, device: DeviceFolder) -> None:
    world.heal()
    pull(device)
    assert model_of(device) == NEW


def is_signed_root(world: World, content: bytes) -> bool:
    """Whether two keys still sign the same: a change of a third signature or of spaces is harmless."""
    try:
        old = Metadata[Root].from_bytes((world.folder / "keys/root.json").read_bytes())
        new = Metadata[Root].from_bytes(content)
        first = Metadata[Root].from_bytes(world.sets[0]["_tuf/1.root.json"])
        for by in (old, first, new):
            by.verify_delegate("root", new)
    except Exception:
        return False
    return bool(new.signed == Metadata[Root].from_bytes(world.good("root")).signed)


@pytest.mark.parametrize("what", NEEDED)
def test_flipped_bit_is_refused_in_every_file(world: World, what: str) -> None:
    device, content, refused = world.device(), world.good(what), 0
    flips = 5 if EVERY_STEP or world.thorough else 2
    for position in range(3, len(content), max(1, len(content) // flips)):
        changed = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        if what == "root" and is_signed_root(world, changed):
            continue
        world.damage(what, changed)
        assert_refused(world, device, "can't be trusted|signed by|Unexpected")
        refused += 1
    assert refused >= (flips // 2 if what == "root" else flips)
    assert_over(world, device)


@pytest.mark.parametrize("what", NEEDED)
def test_truncated_and_missing_files_are_refused(world: World, what: str) -> None:
    device, content = world.device(), world.good(what)
    for rest in world.some([content[: len(content) // 2], b"", content[:-1]]):
        world.damage(what, rest)
        assert_refused(world, device, "the registry serves something that can't be")
    world.heal()
    world.damage(what, None)
    # Without the new root, the new key of the timestamp is unknown.
    alarm, said = (AlarmError, "signed by") if what == "root" else (UnreachableError, "cannot be reached: .*404")
    assert_refused(world, device, said, alarm)
    assert_over(world, device)


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("phone.stable", "phone.beta"),
        ("phone.stable", "watch.stable"),
        ("phone.stable", "targets"),
        ("targets", "snapshot"),
        ("snapshot", "timestamp"),
        ("timestamp", "snapshot"),
        ("timestamp", "root"),
    ],
)
def test_swapped_files_are_refused(world: World, what: str, other: str) -> None:
    device = world.device()
    world.damage(what, world.good(other))
    assert_refused(world, device, "can't be trusted")
    assert_over(world, device)


@pytest.mark.parametrize(
    "model",
    [gzip_of(OTHER), gzip_of(OLD), NEW, gzip_of(NEW) + b"\0"],
    ids=["another", "the old one", "not compressed", "one byte more"],
)
def test_other_bytes_in_the_place_of_the_model_are_refused(world: World, model: bytes) -> None:
    device = world.device()
    world.damage("model", model)
    assert_refused(world, device, "can't be trusted")
    assert_over(world, device)


def test_every_earlier_set_is_refused_as_a_replay(world: World) -> None:
    device = world.device()
    pull(device)
    for number in range(len(world.sets) - 1):
        world.go_back(number)
        with pytest.raises(AlarmError, match="can't be trusted"):
            pull(device)
        assert model_of(device) == NEW
        world.heal()
    pull(device)


def test_frozen_registry_alarms_when_it_expires(world: World) -> None:
    device = world.device()
    world.go_back(0)
    world.damage("root", None)
    with clock(timedelta(days=6)):
        assert pull(device).warning is None  # Nothing shows before.
    with clock(timedelta(days=8)):
        assert_refused(world, device, "the registry has expired: timestamp.json is expired")
        world.gateway.fault = lambda number, line: (503, "")
        assert_refused(world, device, "the registry has expired: it cannot be reached")
    assert_over(world, device)


@pytest.mark.parametrize("what", ["timestamp", "snapshot", "targets", "phone.stable"])
def test_mix_of_valid_sets_is_refused(world: World, what: str) -> None:
    for number in range(1, len(world.sets) - 1):
        if (mixed := world.good(what, number)) == world.good(what):
            continue
        device = world.device()
        world.damage(what, mixed)
        if what == "timestamp":  # This is a whole set, which was replaced: the device knows no newer one.
            with suppress(DeviceError):
                pull(device)
            assert model_of(device) == OLD
        else:
            assert_refused(world, device, "can't be trusted")
        assert_over(world, device)


@pytest.mark.parametrize("what", NEEDED)
def test_endless_data_is_cut_off(world: World, what: str) -> None:
    device = world.device()
    world.fault(what, ENDLESS)
    assert_refused(world, device, "exceeding the maximum allowed length|has more than")
    kept = sum(path.stat().st_size for path in device.path.rglob("*") if path.is_file())
    assert kept < MOST_BYTES / 100
    assert_over(world, device)


@pytest.mark.parametrize("fault", [DROPPED, CUT, (500, "<html>"), (503, ""), (403, "")])
def test_server_that_fails_at_any_file_keeps_the_model(world: World, fault: Fault) -> None:
    device = world.device()
    for what in world.some(NEEDED):
        world.fault(what, fault)
        error: type[DeviceError] = UnreachableError
        if what == "root" and fault == (403, ""):
            error = AlarmError  # A bucket that nobody may list says this about a file that doesn't exist.
        assert_refused(world, device, "cannot be reached" if error is UnreachableError else "signed by", error)
    assert_over(world, device)


def test_download_continues_where_the_connection_broke(world: World) -> None:
    device = world.device()
    world.fault("model", CUT)
    assert_refused(world, device, "the next pull continues where this one ended", UnreachableError)
    (part,) = device.downloads.glob("*.part")
    arrived = part.stat().st_size
    assert arrived == len(world.good("model")) // 2
    world.heal()
    pull(device)
    assert model_of(device) == NEW
    (sent,) = [size for line, size in world.gateway.sent if world.asks_for("model", line)]
    assert sent == len(world.good("model")) - arrived


def test_clock_that_is_a_year_off(world: World) -> None:
    device = world.device()
    with clock(timedelta(days=366)):
        assert_refused(world, device, "expired: .* is expired. The clock of this device says .*check the clock")
    with clock(timedelta(days=-366)):
        assert "Set the clock" in str(pull(device).warning)
        assert model_of(device) == NEW
        world.go_back(3)
        with pytest.raises(AlarmError, match="New timestamp version"):
            pull(device)
    assert model_of(device) == NEW
