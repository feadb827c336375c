import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.core.files import bytes_of, create_atomically, little_space, sha256_of, write_atomically


def test_written_file_is_whole_and_readable_by_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.bin", b"content")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"content"
    assert (tmp_path / "new" / "a.bin").stat().st_mode & 0o777 == 0o644


def test_old_file_stays_and_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.bin", b"old")
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a.bin", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_digest_of_a_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_digest_of_a_folder_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    for folder, order in (("one", ("b", "a")), ("two", ("a", "b"))):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for name in order:
            (tmp_path / folder / "sub" / name).write_text(name)
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    assert bytes_of(tmp_path / "one") == 2
    (tmp_path / "two" / "sub" / "a").rename(tmp_path / "two" / "sub" / "c")
    assert sha256_of(tmp_path / "one") != sha256_of(tmp_path / "two")


def test_space_is_mentioned_when_less_than_a_mebibyte_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, said in ((4096, f"4,096 bytes are free in {tmp_path}"), (1 << 20, "")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert little_space(tmp_path) == said


def test_created_file_replaces_no_other_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "folder" / "file"
    create_atomically(file, b"first")
    with pytest.raises(FileExistsError):
        create_atomically(file, b"second")
    assert [(path.name, path.read_bytes()) for path in file.parent.iterdir()] == [("file", b"first")]
