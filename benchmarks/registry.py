"""Counts the requests and bytes of pushes, roll-outs, updates of devices, and the upkeep of large registries.

`python -m benchmarks.registry` runs real clients against servers on this machine: moto for S3, an emulator of Google
Cloud Storage, and Debian's docker-registry, each behind a gateway that counts. Requests and bytes don't depend on the
machine. Seconds do, and the servers take most of them.

Bounds: a device with nothing new makes at most 3 requests and fetches at most 10 kB. With 200 device classes or 10,000
releases, a push makes at most 1.1 times the requests that it makes in an empty registry.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from components.core.values import serialized
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import signed
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, Release
from components.push.release_files import compressed_form
from components.push.several import publish
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.holdings import Copy
from components.push.upkeep.mirror import mirror
from components.push.upkeep.opening import holdings_at
from components.trust.keys import VARIABLE
from components.trust.rollout import FULL_SHARE
from components.trust.setup import create
from components.trust.storage import store_at
from tests.components.device_client.fleet import Server
from tests.components.push.places import KINDS, Place, manifest_of, store_of

MODEL_BYTES, CLASSES, RELEASES = 5_000_000, 200, 10_000
MOST_REQUESTS, MOST_BYTES, MOST_GROWTH = 3, 10_000, 1.1
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
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        broken = [
            *_pushes(Path(folder)),
            *_devices(Path(folder), asked.classes),
            *_large(Path(folder), asked.releases),
        ]
    for one in broken:
        print(f"BROKEN {one}")
    raise SystemExit(1 if broken else 0)


def model_of(number: int, size: int = MODEL_BYTES) -> bytes:
    """A model of random bytes, which no compression makes smaller."""
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
    print(f"A device, of 1 and of {classes:,} device classes")
    broken = []
    for number in (1, classes):
        with (
            store_of("local") as store,
            _signed(store.place(folder / f"fleet-{number}"), folder / f"k{number}") as place,
        ):
            for one in range(number):
                push(place, model_of(one, 1000), device_class=f"phone{one}")
            server = Server(Path(place.root))
            device = DeviceFolder(folder / f"device-{number}")
            settings = Settings(server.url, "phone0", "shoes", "stable", "device-1")
            device.create(settings, (folder / f"k{number}" / "root.json").read_bytes())
            for what in ("first update", "nothing new", "next update", "nothing new for it"):
                if what == "next update":
                    push(place, model_of(classes), device_class="phone0")
                if what == "nothing new for it":
                    push(place, model_of(classes + 1, 1000), device_class=f"phone{number - 1}", channel="canary")
                server.asked.clear()
                began = time.perf_counter()
                pull(device)
                found = Count(len(server.asked), sum(one[2] for one in server.asked), time.perf_counter() - began)
                print(f"{number:5,} classes: {what:18} {found}")
                if what == "nothing new" and (found.requests > MOST_REQUESTS or found.bytes > MOST_BYTES):
                    broken.append(f"{number} classes: {what}: {found}")
            server.close()
    return broken


def _large(folder: Path, releases: int) -> list[str]:
    print(f"An S3 registry with {releases:,} releases of 1,000 bytes in {CLASSES} places, not signed")
    broken = []
    with store_of("s3") as store:
        place, measured = store.place(folder), _counter(store.gateway)
        push(place, model_of(0, 1000))
        small = measured(lambda: push(place, model_of(1, 1000)))
        _fill(place.root, releases)
        large = measured(lambda: push(place, model_of(2, 1000)))
        print(f"push to 2 releases               {small}")
        print(f"push to {releases:,} releases          {large}")
        if large.requests > MOST_GROWTH * small.requests:
            broken.append(f"a push to {releases:,} releases makes {large.requests} requests, not {small.requests}")
        print(f"verify                           {measured(lambda: verify(place.root))}")
        print(f"gc, nothing to remove            {measured(lambda: collect(place.root))}")
        copy = str(folder / "mirror")
        print(f"mirror to a folder               {measured(lambda: mirror(place.root, copy))}")
        print(f"mirror again                     {measured(lambda: mirror(place.root, copy))}")
    return broken


def push(place: Place, model: bytes, channel: str = "stable", device_class: str = "phone") -> None:
    """Push a model as a run does."""
    manifest = manifest_of(model).model_copy(update={"device_class": device_class})
    publish([place.spec.model_copy(update={"channel": channel})], device_class, "shoes", model, manifest)


def _fill(root: str, releases: int) -> None:
    """Write releases without the checks of a push."""
    holdings = holdings_at(root)
    for number in range(releases):
        model = model_of(number + 10, 1000)
        content, form = compressed_form(model)
        device_class = f"class{number % CLASSES}"
        manifest = manifest_of(model).model_copy(update={"device_class": device_class, "compressed": form})
        files = {MODEL_NAME: model, COMPRESSED_NAME: content, MANIFEST_NAME: serialized(manifest)}
        release = Release(version=manifest.sha256[:16], path=f"{root}/{device_class}/shoes", manifest=manifest)
        holdings.write(f"{device_class}/shoes", Copy(release, files))


@contextmanager
def _signed(place: Place, keys: Path) -> Iterator[Place]:
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        root = signed.normal(place.root)
        create(root, store_at(root), keys)
        yield place


def _counter(gateway: object) -> Callable[[Callable[[], object]], Count]:
    def measured(do: Callable[[], object]) -> Count:
        before = (len(gateway.requests), gateway.bytes) if gateway else (0, 0)  # type: ignore[attr-defined]
        began = time.perf_counter()
        do()
        seconds = time.perf_counter() - began
        after = (len(gateway.requests), gateway.bytes) if gateway else (0, 0)  # type: ignore[attr-defined]
        return Count(after[0] - before[0], after[1] - before[1], seconds)

    return measured


if __name__ == "__main__":
    main()
