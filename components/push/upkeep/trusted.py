"""The signed metadata of a registry, for upkeep that doesn't change signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata

from components.core.errors import RegistryError, SpecError
from components.core.files import sha256_of_bytes
from components.object_store.bucket import Content
from components.push.references import pointer
from components.push.registry import store_at
from components.push.signed import can_be_signed, key_set_of, not_signed_any_more
from components.push.upkeep.reading import Reading, read_everything
from components.trust.memory import Memory
from components.trust.names import ARCHIVE
from components.trust.reader import SignedReader
from components.trust.rollout import ChannelState, ReleaseRef
from components.trust.signed_set import FIRST_ROOT_NAME, TIMESTAMP_NAME, is_root, is_signed, refused
from components.trust.storage import ListedStore, Remembering


@dataclass(frozen=True)
class Trusted:
    """A signed registry.

    Attributes:
        store: Its metadata.
        reading: The verified metadata.
        anchored: Whether the root comes from this machine. Otherwise, the registry's own first root was trusted.
        anchor: The root that was trusted, if it comes from this machine.
    """

    store: ListedStore
    reading: Reading
    anchored: bool
    anchor: bytes | None


def read_trusted(root: str, trust: Path | None = None) -> Trusted | None:
    """Read and verify the signed metadata of a registry; None if it isn't signed.

    Args:
        root: The registry.
        trust: A root.json to trust. By default, the one in the key set for the registry, if any.

    Raises:
        RegistryError: The signed metadata is refused, or it is missing although there is a key set for it.
        SpecError: `trust` can't be read.
    """
    if not can_be_signed(root):
        return None
    store = store_at(root)
    keys = key_set_of(root, store)
    anchor = _read(trust) if trust else keys.root if keys else None
    if not is_signed(store):
        if anchor is not None:
            raise not_signed_any_more(root, store, "restore it: `edgemill registry repair --from` a mirror")
        return None
    memory = Memory(root, anchor or b"", keys.folder if keys else None)
    return Trusted(store, read_everything(store, anchor, root, memory), anchor is not None, anchor)


def open_to_read(root: str, trust: Path | None = None) -> tuple[SignedReader, bool] | None:
    """Open a signed registry without private keys; None if it isn't signed.

    Args:
        root: The registry.
        trust: A root.json to trust. By default, the one in the key set for the registry or, if there is none, the
            registry's own first root.

    Returns:
        The registry, and whether the root comes from this machine.

    Raises:
        RegistryError: The signed metadata is missing although there is a key set for it.
        SpecError: `trust` isn't a root.
    """
    if not can_be_signed(root):
        return None
    store = Remembering(store_at(root))
    keys = key_set_of(root, store)
    anchor = _read(trust) if trust else keys.root if keys else None
    if not is_signed(store):
        if anchor is not None:
            raise not_signed_any_more(root, store, "restore it: `edgemill registry repair --from` a mirror")
        return None
    if anchor is not None:
        return SignedReader(root, store, anchor, keys.folder if keys else None), True
    first = store.read(FIRST_ROOT_NAME)
    if first is None:
        raise refused("it is missing", FIRST_ROOT_NAME, root)
    return SignedReader(root, store, first.content), False


def references(states: tuple[ChannelState, ...], *, archived: bool = True) -> dict[str, list[ReleaseRef]]:
    """Map each release that a channel gives to devices, or can return to, to its channels' signed statements about it.

    Releases that only an archive has signed are among them unless `archived` is false: a collection may remove these.
    """
    found: dict[str, list[ReleaseRef]] = {}
    for state in (one for one in states if archived or one.channel != ARCHIVE):
        for ref in (*state.history, *(stage.release for stage in state.stages)):
            found.setdefault(f"{state.device_class}/{state.name}/{ref.version}", []).append(ref)
    return found


def complete_releases(states: tuple[ChannelState, ...]) -> dict[str, dict[str, ReleaseRef]]:
    """Map each place to its channels' releases of all devices, which their pointers name."""
    found: dict[str, dict[str, ReleaseRef]] = {}
    for state in states:
        if state.complete is not None:
            found.setdefault(f"{state.device_class}/{state.name}", {})[state.channel] = state.complete
    return found


def restore_metadata(root: str, sources: Sequence[str], trust: Path | None, *, dry_run: bool) -> list[str]:
    """Restore signed metadata that is missing, damaged, or old, file by file. Returns the files that were written.

    It comes from mirrors. The timestamp can also be the one that this machine remembers, if all files that it leads to
    are there. The newest one is taken.

    A dry run names only the first file, because the files that it leads to can't be read without it.
    """
    store = store_at(root)
    keys = key_set_of(root, store)
    anchor = _read(trust) if trust else keys.root if keys else None
    mirrors = [one for one in sources if can_be_signed(one) and is_signed(store_at(one))]
    readings = [read_everything(store_at(one), anchor, one).files for one in mirrors]
    memory = Memory(root, anchor or b"", keys.folder if keys else None)
    if anchor is not None and (seen := memory.read()) is not None:
        remembered = {TIMESTAMP_NAME: seen.timestamp.to_bytes()}
        with suppress(RegistryError):
            read_everything(_Replaced(store, remembered), anchor, root)
            readings.append(remembered)
    readings.sort(key=_timestamp_version, reverse=True)
    written: list[str] = []
    roots: list[str] | None = None
    while True:
        try:
            read_everything(store, anchor or _first_root(readings), root, memory)
        except RegistryError as error:
            # A missing root looks like the end of the chain, so the error is about what the later ones signed.
            roots = _differing_roots(store, readings) if roots is None else roots
            name = roots.pop(0) if roots else (error.where or "").rpartition(": ")[2]
            if not any(name in files for files in readings):
                name = TIMESTAMP_NAME  # It leads to files that never were in a mirror, so somebody else has its key.
            content = next((files[name] for files in readings if name in files), None)
            if content is None or name in written:
                break
            written.append(name)
            if dry_run:
                break
            with store.exclusive():
                found = store.read(name)
                if not store.write_if(name, content, found.version if found else None):
                    raise RegistryError(
                        "another process has just changed this", where=name, remedy="run again"
                    ) from error
        else:
            break
    return [f"_tuf/{name}" for name in written]


def restore_pointers(trusted: Trusted, *, dry_run: bool) -> list[str]:
    """Restore signed pointers that are missing: what they contain is signed. Returns the files that were written."""
    written = []
    for state in trusted.reading.states:
        content, folder = pointer(state.named), f"targets/{state.device_class}/{state.name}"
        name = f"{folder}/{sha256_of_bytes(content)}.{state.channel}.json"
        if name in trusted.reading.missing:
            if not dry_run:
                trusted.store.write_if(name, content, None)
            written.append(f"_tuf/{name}")
    return written


def _first_root(readings: Sequence[dict[str, bytes]]) -> bytes | None:
    return next((files[FIRST_ROOT_NAME] for files in readings if FIRST_ROOT_NAME in files), None)


def _differing_roots(store: ListedStore, readings: Sequence[dict[str, bytes]]) -> list[str]:
    """The roots of mirrors that a registry lacks, or has with other content, the oldest first."""
    known = {name: content for files in readings for name, content in files.items() if name.endswith(".root.json")}
    held = {name: store.read(name) for name in known}
    differing = [name for name, one in held.items() if one is None or one.content != known[name]]
    return sorted(differing, key=lambda name: int(name.partition(".")[0]))


def _timestamp_version(files: dict[str, bytes]) -> int:
    return Metadata.from_bytes(files[TIMESTAMP_NAME]).signed.version


class _Replaced(Remembering):
    """A store with some files replaced, to read what would be there."""

    def __init__(self, store: ListedStore, replaced: Mapping[str, bytes]) -> None:
        super().__init__(store)
        self._replaced = replaced

    def read(self, name: str) -> Content | None:
        """See `Store`."""
        return Content(self._replaced[name], "") if name in self._replaced else super().read(name)


def _read(path: Path) -> bytes:
    remedy = "specify the root.json of the registry's key set"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(
            f"the trusted root cannot be read: {error.strerror or error}", where=str(path), remedy=remedy
        ) from error
    if not is_root(content):
        raise SpecError("this is not a root of signed metadata", where=str(path), bound="a root.json", remedy=remedy)
    return content
