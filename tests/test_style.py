"""The word list of docs/style.md is one that codespell can enforce, and its exceptions are still needed."""

import re
from pathlib import Path

STYLE = Path("docs/style")


def entries(name: str) -> list[str]:
    return [line.split("->")[0] for line in (STYLE / name).read_text().splitlines()]


def test_word_lists_map_each_word_once() -> None:
    lines = [line for path in sorted(STYLE.glob("words*.txt")) for line in path.read_text().splitlines()]
    assert not [line for line in lines if not re.fullmatch(r"[^A-Z>]+->[^>]+", line)]
    words = [line.split("->")[0] for line in lines]
    assert sorted(words) == sorted(set(words))


def test_codespell_looks_for_every_phrase() -> None:
    # Without this, codespell takes single words only, and an entry of several is never found.
    settings = Path("pyproject.toml").read_text()
    searched = re.search(r'^regex = """\\\n\\\\b\(\?i:\\\n(.*?)\\\n\)', settings, re.MULTILINE | re.DOTALL)
    assert searched is not None
    found = searched[1].replace("\\\n", "").replace("\\\\.", ".").split("|")
    phrases = [entry for path in sorted(STYLE.glob("words*.txt")) for entry in entries(path.name)]
    assert sorted(found) == sorted(phrase for phrase in phrases if not re.fullmatch(r"[\w'-]+", phrase))


def test_exceptions_are_files_that_still_need_one() -> None:
    words = "|".join(map(re.escape, entries("words-in-prose.txt")))
    searched = re.compile(rf"(?<![\w'-])(?:{words})(?![\w'-])", re.IGNORECASE)
    listed = (STYLE / "exceptions.txt").read_text().splitlines()
    assert listed == sorted(set(listed))
    needless = [file for file in listed if not Path(file).is_file() or not searched.search(Path(file).read_text())]
    assert not needless, "remove these lines from docs/style/exceptions.txt:\n" + "\n".join(needless)
