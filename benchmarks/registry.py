"""Counts the requests and bytes of pushes, roll-outs, updates of devices, and the upkeep of large registries.

`python -m benchmarks.registry` runs real clients against servers on this machine: moto for S3, an emulator of Google
Cloud Storage, and Debian's docker-registry, each behind a gateway that counts. Requests and bytes don't depend on the
machine. Seconds do, and the servers take most of them.

Bounds: a device with nothing new makes at most 3 requests and fetches at most 10 kB. With up to 20 device classes, this
also holds if something was pushed for another class. With 200 device classes and 10,000 releases, a push makes at most
1.1 times the requests that it makes in an empty registry. A folder has no requests: the files below it that are read
are counted instead, with their sizes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import signed
from components.push.audit import append
from components.push.beside import AUDIT, notes_at
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, Release
from components.push.release_files import compressed_form
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.holdings import Copy
from components.push.upkeep.mirror import mirror
from components.push.upkeep.opening import holdings_at
from components.trust.keys import VARIABLE
from components.trust.rollout import FULL_SHARE
from tests.components.device_client.served import Served, served
from tests.components.push.places import KINDS, Place, manifest_of, store_of
from tests.gateway import Gateway

MODEL_BYTES, CLASSES, RELEASES = 5_000_000, 200, 10_000
PARTS = ("pushes", "devices", "upkeep")
MOST_REQUESTS, MOST_BYTES, MOST_GROWTH = 3, 10_000, 1.1
# With more device classes, the list of all channels is longer than `MOST_BYTES`.
FEW_CLASSES = 20
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Count(NamedTuple):
    """Requests, bytes in bodies, and seconds of wall time."""

    requests: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.requests:7,} requests {self.bytes:13,} bytes {self.seconds:8.2f} s"


def main() -> None:
    """Print each figure, and exit with an error if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--releases", type=int, default=RELEASES)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--large", nargs="*", choices=KINDS, default=KINDS, help="kinds of the large registries")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        broken = [
            *(_pushes(Path(folder)) if "pushes" in asked.parts else ()),
            *(_devices(Path(folder), asked.classes) if "devices" in asked.parts else ()),
            *chain.from_iterable(
                _large(Path(folder), kind, asked.classes, asked.releases, upkeep="upkeep" in asked.parts)
                for kind in asked.large
            ),
        ]
    for one in broken:
        print(f"BROKEN {one}")
    raise SystemExit(1 if broken else 0)


def model_of(number: int, size: int = MODEL_BYTES) -> bytes:
    """A model of random bytes, which can't be compressed."""
    return random.Random(number).randbytes(size)


def _pushes(folder: Path) -> list[str]:
    print(f"A model of {MODEL_BYTES:,} bytes; signed registries")
    # A folder has no requests.
    for kind in KINDS[1:]:
        with store_of(kind) as store, _signed(store.place(folder / kind), folder / f"{kind}-keys") as place:
            measured = _counter(store.gateway)
            push(place, model_of(0), "canary")
            print(f"{kind:6} push the next           {measured(lambda: push(place, model_of(1), 'canary'))}")
            print(f"{kind:6} push the same           {measured(lambda: push(place, model_of(1), 'canary'))}")
            version = place.open("canary").versions("phone", "shoes")
            address = f"{signed.normal(place.root)}/phone/shoes/{version[0]}"
            promoted = measured(partial(signed.promote, address, "stable", FULL_SHARE))
            print(f"{kind:6} promote to all          {promoted}")
    return []


def _devices(folder: Path, classes: int) -> list[str]:
    print(f"A device, of 1, {FEW_CLASSES}, and {classes:,} device classes")
    broken = []
    for number in sorted({1, FEW_CLASSES, classes}):
        with (
            store_of("local") as store,
            _signed(store.place(folder / f"fleet-{number}"), folder / f"k{number}") as place,
            served(place, store) as asked,
        ):
            for one in range(number):
                push(place, model_of(one, 1000), device_class=class_of(one))
            measured = _update(asked, DeviceFolder(folder / f"device-{number}"), folder / f"k{number}")
            print(f"{number:5,} classes: first update       {measured()}")
            nothing = measured()
            print(f"{number:5,} classes: nothing new        {nothing}")
            broken += _beyond(nothing, f"{number} classes")
            push(place, model_of(classes), device_class=class_of(0))
            print(f"{number:5,} classes: next update        {measured()}")
            push(place, model_of(classes + 1, 1000), device_class=class_of(number - 1), channel="canary")
            print(f"{number:5,} classes: nothing new for it {(other := measured())}")
            if number <= FEW_CLASSES:
                broken += _beyond(other, f"{number} classes, something new for another one")
    return broken


def _large(folder: Path, kind: str, classes: int, releases: int, *, upkeep: bool) -> list[str]:
    """Measure a signed registry with one device class and two releases, and then with many of both."""
    print(f"{kind}: signed, {releases:,} releases of 1,000 bytes in {classes:,} device classes")
    keys = folder / f"large-{kind}-keys"
    with store_of(kind) as store, _signed(store.place(folder / f"large-{kind}"), keys) as place:
        measured = _opened_below(Path(place.root)) if store.gateway is None else _counter(store.gateway)
        push(place, model_of(0, 1000), device_class=class_of(0))
        small = measured(lambda: push(place, model_of(1, 1000), device_class=class_of(0)))
        began = time.perf_counter()
        most = _fill(place, classes, releases, measured)
        print(f"{kind:6} filled in {time.perf_counter() - began:.0f} s; the largest of {classes - 1:,} pushes: {most}")
        large = measured(lambda: push(place, model_of(2, 1000), device_class=class_of(0)))
        print(f"{kind:6} push to 2 releases     {small}")
        print(f"{kind:6} push to all of them    {large}")
        added = measured(lambda: push(place, model_of(3, 1000), device_class="new"))
        print(f"{kind:6} push for a new class   {added}")
        version = sha256_of_bytes(model_of(2, 1000))[:16]
        address = f"{signed.normal(place.root)}/{class_of(0)}/shoes/{version}"
        promoted = measured(partial(signed.promote, address, "beta", FULL_SHARE))
        print(f"{kind:6} promote to all         {promoted}")
        broken = []
        if large.requests > MOST_GROWTH * small.requests:
            broken.append(f"{kind}: a push to {releases:,} releases makes {large.requests}, not {small.requests}")
        with served(place, store) as asked:
            pulled = _update(asked, DeviceFolder(folder / f"large-{kind}-device"), keys)
            print(f"{kind:6} device: first update   {pulled()}")
            nothing = pulled()
            print(f"{kind:6} device: nothing new    {nothing}")
            broken += _beyond(nothing, f"{kind}, {classes:,} classes")
            push(place, model_of(4, 1000), device_class=class_of(0))
            print(f"{kind:6} device: next update    {pulled()}")
        if upkeep:
            print(f"{kind:6} verify                 {measured(lambda: verify(place.root))}")
            print(f"{kind:6} gc, nothing to remove  {measured(lambda: collect(place.root))}")
            copy = str(folder / f"large-{kind}-mirror")
            print(f"{kind:6} mirror to a folder     {measured(lambda: mirror(place.root, copy))}")
            print(f"{kind:6} mirror again           {measured(lambda: mirror(place.root, copy))}")
    return broken


def _update(asked: Served, device: DeviceFolder, keys: Path) -> Callable[[], Count]:
    """A device of the first class, as a function that pulls and counts."""
    device.create(Settings(asked.url, class_of(0), "shoes", "stable", "device-1"), (keys / "root.json").read_bytes())

    def pulled() -> Count:
        asked.start()
        began = time.perf_counter()
        pull(device)
        seconds = time.perf_counter() - began
        return Count(*asked.counted(), seconds)

    return pulled


def _beyond(found: Count, what: str) -> list[str]:
    within = found.requests <= MOST_REQUESTS and found.bytes <= MOST_BYTES
    return [] if within else [f"{what}: nothing new: {found}"]


def class_of(number: int) -> str:
    """Name of a device class."""
    return f"class{number}"


def push(place: Place, model: bytes, channel: str = "stable", device_class: str = "phone") -> None:
    """Push a model in the same way as a run."""
    place.publish(model, channel, device_class=device_class)


def _fill(place: Place, classes: int, releases: int, measured: Callable[[Callable[[], object]], Count]) -> Count:
    """Push to each device class, and write more releases and their audit log without the checks of a push.

    Returns the push with the most requests.
    """
    pushes = [
        measured(partial(push, place, model_of(number + 10, 1000), device_class=class_of(number)))
        for number in range(1, classes)
    ]
    root = signed.normal(place.root)
    holdings, notes = holdings_at(root), notes_at(root, AUDIT)
    known = [name for name in notes.names() if name[0].isdigit()]
    for number in range(classes, releases - 1):
        model = model_of(number + 10, 1000)
        content, form = compressed_form(model)
        device_class = class_of(number % classes)
        manifest = manifest_of(model).model_copy(update={"device_class": device_class, "compressed": form})
        files = {MODEL_NAME: model, COMPRESSED_NAME: content, MANIFEST_NAME: serialized(manifest)}
        release = Release(version=manifest.sha256[:16], path=f"{root}/{device_class}/shoes", manifest=manifest)
        holdings.write(f"{device_class}/shoes", Copy(release, files))
        where = f"{device_class}/shoes/{release.version}"
        known = [*known[-3:], append(notes, known, "push", where, {"channel": "stable"}, ())]
    return max(pushes)


@contextmanager
def _signed(place: Place, keys: Path) -> Iterator[Place]:
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        place.sign(keys)
        yield place


def _counter(gateway: Gateway) -> Callable[[Callable[[], object]], Count]:
    def measured(do: Callable[[], object]) -> Count:
        before = (len(gateway.requests), gateway.bytes)
        began = time.perf_counter()
        do()
        seconds = time.perf_counter() - began
        return Count(len(gateway.requests) - before[0], gateway.bytes - before[1], seconds)

    return measured


def _opened_below(root: Path) -> Callable[[Callable[[], object]], Count]:
    """Count the files of a folder that are read, in place of requests, and their sizes."""
    opened: list[int] = []

    def seen(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(f"{root}/") and not int(str(arguments[2])) & os.O_CREAT:
            path = Path(str(arguments[0]))
            if not path.is_dir():  # Missing files also count, like requests for them.
                opened.append(path.stat().st_size if path.exists() else 0)

    sys.addaudithook(seen)

    def measured(do: Callable[[], object]) -> Count:
        opened.clear()
        began = time.perf_counter()
        do()
        return Count(len(opened), sum(opened), time.perf_counter() - began)

    return measured


if __name__ == "__main__":
    main()
