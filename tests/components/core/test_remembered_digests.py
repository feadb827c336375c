"""Digests of files are remembered by what a program cannot set back, and by nothing less."""

import os
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.core.files import sha256_of
from components.core.remembered_digests import digests_of

HOUR_NS = 3_600_000_000_000


def settled(file: Path) -> int:
    """A time at which the file's last change is long past."""
    return file.stat().st_ctime_ns + HOUR_NS


def forge(memory: Path, true: str) -> str:
    """Put another digest in the place of a remembered one: who gets it was served from memory."""
    forged = "f" * 64
    text = memory.read_text()
    assert text.count(true) == 1
    memory.write_text(text.replace(true, forged))
    return forged


def test_unchanged_file_is_not_read_again_unless_asked(tmp_path: Path) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory.json"
    file.write_bytes(b"content")
    true = sha256_of(file)
    assert digests_of([file], memory, now_ns=settled(file)) == {file: true}
    forged = forge(memory, true)
    assert digests_of([file], memory, now_ns=settled(file)) == {file: forged}
    assert digests_of([file], memory, rehash=True, now_ns=settled(file)) == {file: true}
    assert digests_of([file], memory, now_ns=settled(file)) == {file: true}


@pytest.mark.parametrize("replaced", [False, True], ids=["in place", "another file"])
def test_other_content_of_the_same_size_and_modification_time_is_noticed(tmp_path: Path, replaced: bool) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory.json"
    file.write_bytes(b"content")
    before = file.stat()
    digests_of([file], memory, now_ns=settled(file))
    written = tmp_path / "new" if replaced else file
    written.write_bytes(b"CONTENT")
    os.utime(written, ns=(before.st_atime_ns, before.st_mtime_ns))
    written.replace(file)
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digests_of([file], memory, now_ns=settled(file)) == {file: sha256_of(file)}


def test_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory.json"
    file.write_bytes(b"content")
    digests_of([file], memory, now_ns=file.stat().st_ctime_ns)
    assert not memory.exists()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"files": {"1:2": {"size": 1}}}'])
def test_damaged_memory_is_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    file, memory = tmp_path / "data", tmp_path / "memory.json"
    file.write_bytes(b"content")
    memory.write_bytes(damage)
    assert digests_of([file], memory, now_ns=settled(file)) == {file: sha256_of(file)}


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing: the file cannot be read: No such file or directory"):
        digests_of([tmp_path / "missing"], tmp_path / "memory.json")
