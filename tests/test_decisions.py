"""The pages of docs/ about the architecture agree with each other and with the code."""

import re
from pathlib import Path

from tests.test_architecture import LAYERS

DECISIONS = Path("docs/decisions")
PAGES = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
HEADINGS = ["Context", "Options", "Decision", "Consequences"]


def test_index_lists_every_decision_with_its_title() -> None:
    rows = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \| (.+) \|$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    titles = [re.match(r"# (\d{4})\. (.+)", path.read_text()) for path in PAGES]
    assert rows == [
        (title[1], path.name, title[2]) for path, title in zip(PAGES, titles, strict=True) if title is not None
    ]
    assert [number for number, *_ in rows] == [f"{number:04d}" for number in range(1, len(PAGES) + 1)]


def test_every_decision_has_the_same_headings() -> None:
    found = {path.name: re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE) for path in PAGES}
    assert not {name: headings for name, headings in found.items() if headings != HEADINGS}


def test_drawing_shows_the_layers_that_imports_are_checked_against() -> None:
    (drawing,) = re.findall(r"^```text\n(edgemill .*?)^```", Path("docs/architecture.md").read_text(), re.M | re.S)
    # Packages come first in each row, and words about them after a gap.
    rows = [" ".join(re.split(r" {2,}", line)[0] for line in row.split("\n")) for row in drawing.split("\n   |\n")]
    assert [set(row.split()) for row in rows] == list(LAYERS)
