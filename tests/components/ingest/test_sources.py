from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from components.ingest.sources import matching, read_by_tfx, wildcards_in


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data of é")
    for name in ("train.a", "sub/train.a", "sub/deep/train.a", ".hidden/train.a", ".train.a", "tr/in.a", "x[1].a",
                 "sub!x.a", "sub^x.a", "a\\b.a", "a]b.a"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "other").mkdir()
    (folder / "linked").symlink_to(folder / "sub")
    (folder / "linked.a").symlink_to(folder / "train.a")
    (folder / "broken.a").symlink_to(folder / "nothing")
    return folder


PATTERNS = ["*", "train*", "*/train*", "**/train*", "**/*", "**", "*/*/*", "tr?in.a", "x[1].a", "x[[]1].a", "x[1.a",
            "[!t]*", "[^t]*", "sub[!y]*", "[]a]*", "*[]]*", "./train*", "sub/../train*", "linked/train*", "train.a",
            "nothing", ".*", "a\\b.a", "sub/**", "linked/**"]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_files_that_tfx_reads_are_those_of_beam(data: Path, pattern: str) -> None:
    (found,) = FileSystems.match([f"{data}/{pattern}"])
    assert read_by_tfx(data, pattern) == {Path(file.path) for file in found.metadata_list}


def test_pattern_of_plain_folders_means_the_same_to_both(data: Path) -> None:
    for pattern in ("train*", "sub/*", "sub/deep/train.a", "tr/*"):
        assert read_by_tfx(data, pattern) == set(matching(data, [pattern])) != set()


def test_characters_of_patterns_are_found_in_paths() -> None:
    assert wildcards_in(Path("/a b/ü{x}/%#&]~")) == ""
    assert wildcards_in(Path("/data[1]/a?*\\")) == "*?[\\"
