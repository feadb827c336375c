"""The word list of docs/style.md is one that codespell can enforce."""

import re
from pathlib import Path

LINES = Path("docs/style/words.txt").read_text().splitlines()
ENTRIES = [line.split("->")[0] for line in LINES]


def test_word_list_maps_each_word_once() -> None:
    assert not [line for line in LINES if not re.fullmatch(r"[^A-Z>]+->[^>]+", line)]
    assert sorted(ENTRIES) == sorted(set(ENTRIES))


def test_codespell_looks_for_every_phrase() -> None:
    # Without this, codespell takes single words only, and an entry of several is never found.
    settings = Path("pyproject.toml").read_text()
    searched = re.search(r'^regex = """\\\n\\\\b\(\?i:\\\n(.*?)\\\n\)', settings, re.MULTILINE | re.DOTALL)
    assert searched is not None
    found = searched[1].replace("\\\n", "").replace("\\\\.", ".").split("|")
    assert sorted(found) == sorted(entry for entry in ENTRIES if not re.fullmatch(r"[\w'-]+", entry))
