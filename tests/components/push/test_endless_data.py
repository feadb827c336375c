"""Documents of a registry that never end, or that are none: each read of one stops at its limit, and says so."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from components.core.compression import gzip_of
from components.core.errors import EdgemillError, RegistryError, RegistryUnreachableError
from components.core.files import sha256_of_bytes
from components.object_store import limits
from components.object_store.limits import LONGEST_DOCUMENT
from components.push import claims
from components.push.beside import CLAIMS, notes_at
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.trust import oci_store
from components.trust.keys import VARIABLE
from tests.components.push.places import MODEL, Store
from tests.gateway import ENDLESS, FLIPPED, Fault, Gateway

OTHER = MODEL[::-1]
_REFUSED = f"is refused: it is too long (expected: at most {LONGEST_DOCUMENT:,} bytes; found: more than"
# What a push reads for sure: the timestamp, or else the channel.
_PUSHED = re.compile(r"timestamp\.json|timestamp$|/stable|%2Fstable|manifests/timestamp")
# Models have another limit.
_NO_DOCUMENT = re.compile(
    r"model\.tflite|"
    + "|".join(sha256_of_bytes(content) for model in (MODEL, OTHER) for content in (model, gzip_of(model)))
)


def is_document(line: str) -> bool:
    return line.startswith("GET ") and not _NO_DOCUMENT.search(line)


def documents(gateway: Gateway, do: Callable[[], object]) -> dict[str, int]:
    """The documents that something reads, and the number of the first request for each."""
    gateway.reset()
    do()
    found: dict[str, int] = {}
    for number, line in enumerate(gateway.requests):
        if is_document(line):
            found.setdefault(line, number)
    gateway.reset()
    return found


def said_about(gateway: Gateway, attacked: Callable[[int, str], bool], do: Callable[[], object]) -> str:
    """What is said when the answers to some requests never end."""

    def attack(number: int, line: str) -> Fault:
        return ENDLESS if attacked(number, line) else None

    gateway.reset()
    gateway.fault = attack
    try:
        return str(getattr(do(), "problems", ""))
    except RegistryError as error:
        assert not isinstance(error, RegistryUnreachableError)
        return str(error)
    finally:
        gateway.reset()


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_endless_document_is_refused_at_its_limit(store: Store, tmp_path: Path, is_signed: bool) -> None:
    if (gateway := store.gateway) is None:
        pytest.skip("a folder has no requests")
    place = store.place(tmp_path)
    keys = {VARIABLE: str(tmp_path / "keys")} if is_signed else {}
    if is_signed:
        place.sign(tmp_path / "keys")
    with mock.patch.dict(os.environ, keys):
        place.publish(MODEL)
        read = documents(gateway, lambda: verify(place.root))
        # Without signatures, only an answer without content says so.
        attacked = {line: first for line, first in read.items() if is_signed or "tuf" not in line}
        assert len(attacked) >= (10 if is_signed else 3)
        for line, first in attacked.items():
            said = said_about(gateway, lambda number, _, first=first: number == first, lambda: verify(place.root))
            assert _REFUSED in said or ("audit" in line and "this entry cannot be read" in said), line
        # The same for who pushes.
        said = said_about(
            gateway, lambda _, line: is_document(line) and bool(_PUSHED.search(line)), lambda: place.publish(OTHER)
        )
        assert _REFUSED in said
        assert place.publish(OTHER) in place.versions()


def test_long_document_in_the_place_of_a_manifest_is_refused(store: Store, tmp_path: Path) -> None:
    place = store.place(tmp_path)
    release = place.push()
    place.files.write(f"phone/shoes/{release.version}/manifest.json", b" " * (LONGEST_DOCUMENT + 1))
    with pytest.raises(
        RegistryError, match=rf"{place.root.partition('://')[2]}.*: the registry is refused: it is too long"
    ):
        place.current()
    (problem, *_) = verify(place.root).problems
    assert f"at most {LONGEST_DOCUMENT:,} bytes" in problem.message


def test_flipped_bits_of_a_download_are_an_explained_error(store: Store, tmp_path: Path) -> None:
    if (gateway := store.gateway) is None:
        pytest.skip("a folder has no requests")
    place = store.place(tmp_path)
    place.push()
    gateway.fault = lambda number, line: FLIPPED if re.search(r"GET .*(alt=media|manifest\.json|blobs)", line) else None
    with pytest.raises(RegistryError, match=r"some/registry.*Remedy: "):
        place.current()
    gateway.reset()
    if store.kind == "oci":
        gateway.fault = lambda number, line: (200, "<html>") if "tags/list" in line else None
        with pytest.raises(RegistryError, match=r"answers with something other than a list of tags .* found: 6 bytes"):
            place.versions()
        gateway.reset()
    assert place.current() is not None


NESTED = "[" * 100_000


def test_deeply_nested_document_is_an_explained_error(store: Store, tmp_path: Path) -> None:
    if store.kind in {"s3", "gcs"}:
        pytest.skip("the same readers as those of folders")
    place, keys = store.place(tmp_path / "registry"), tmp_path / "keys"
    place.sign(keys)
    claim = notes_at(place.root, CLAIMS)

    def all_commands() -> None:
        for command in (
            lambda: verify(place.root), lambda: place.publish(OTHER), lambda: collect(place.root, grace=0.0)
        ):  # fmt: skip
            with suppress(EdgemillError):
                command()

    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}), mock.patch.object(claims, "LEASE_SECONDS", 0.1):
        place.publish(MODEL)
        claim.write("0123456789abcdef", NESTED.encode())
        place.publish(OTHER)  # It waits, because it can't know what is claimed, and removes the claim.
        assert claim.names() == []
        if (gateway := store.gateway) is None:
            names = [name for name in place.files.all() if "model" not in name]
            assert len(names) > 10
            for name in names:
                if (good := place.files.all().get(name)) is None:
                    continue  # It was superseded.
                place.files.write(name, NESTED.encode())
                all_commands()
                place.files.write(name, good)
        else:
            for line in documents(gateway, lambda: verify(place.root)):
                gateway.fault = lambda number, asked, line=line: (200, NESTED) if asked == line else None
                with suppress(EdgemillError):
                    verify(place.root)
                gateway.reset()
            for part in ("edgemill-gc/", "edgemill-tuf/manifests/lock", "tags/list", "edgemill-audit/manifests"):
                gateway.fault = lambda number, asked, part=part: (200, NESTED) if part in asked else None
                with mock.patch.multiple(oci_store, _MOST_ATTEMPTS=2, LEASE_SECONDS=0.1):
                    all_commands()
                gateway.reset()
        assert place.publish(OTHER) in place.versions()


PAGES = {
    "s3": "<ListBucketResult><IsTruncated>true</IsTruncated><KeyCount>{count}</KeyCount>{names}"
    "<NextContinuationToken>{number}</NextContinuationToken></ListBucketResult>",
    "gcs": '{{"nextPageToken": "{number}", "items": [{names}]}}',
}
NAMES = {
    "s3": "<Contents><Key>some/{name}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
    "<ETag>x</ETag></Contents>",
    "gcs": '{{"name": "some/{name}", "size": "1", "updated": "2026-01-01T00:00:00Z", "generation": "1"}}',
}


@pytest.mark.parametrize("count", [0, 7])
def test_list_without_an_end_is_refused(
    store: Store, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.gateway is None:
        pytest.skip("a folder has no requests")
    monkeypatch.setattr(limits, "MOST_LISTED", 100)
    monkeypatch.setattr(limits, "MOST_PAGES", 50)
    place = store.place(tmp_path)
    place.push()
    if store.kind == "oci":
        host = place.root.partition("://")[2].partition("/")[0]
        answer = json.dumps({"tags": [f"t{number}" for number in range(count)]})
        link = f'<http://{host}/v2/x/tags/list?last=1>; rel="next"'
        store.gateway.fault = lambda number, line: (200, answer) if "tags/list" in line else None
        store.gateway.headers = [("Link", link)]
    else:

        def endless(number: int, line: str) -> Fault:
            if "list-type=2" not in line and "/o?" not in line:
                return None
            names = [NAMES[store.kind].format(name=f"{number:06}-{one}") for one in range(count)]
            joint = "," if store.kind == "gcs" else ""
            return 200, PAGES[store.kind].format(number=number, count=count, names=joint.join(names))

        store.gateway.fault = endless
    before = len(store.gateway.requests)
    with pytest.raises(RegistryError, match=r"its list is too long \(expected: at most .*; found: more\)"):
        place.versions()
    assert len(store.gateway.requests) <= before + 60
    store.gateway.reset()
    assert place.versions()
