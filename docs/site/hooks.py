"""Lets MkDocs show what people read on GitHub: pages from outside docs/, their links, and their lists."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# Page of the site -> file of the repository outside docs/.
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    **{f"examples/{path.parent.name}.md": str(path.relative_to(ROOT)) for path in ROOT.glob("pipelines/*/README.md")},
}
# Folders that GitHub can show -> the page that shows their content.
FOLDERS = {"pipelines/devices": "reference/devices.md"}
# Other files of the repository that pages link to. The site holds copies.
COPIES = (
    "LICENSE",
    "kubeflow/environment.example.yaml",
    "pipelines/fashion_mnist/data/LICENSE",
    "pipelines/fashion_mnist/pipeline.yaml",
)

_FENCE = re.compile(r"^\s*```")
_ITEM = re.compile(r"^( *)((?:[-*]|\d+\.) +)")
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(`[^`\n]*`)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files from outside docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for source in COPIES:
        files.append(File.generated(config, _copy(source), abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links from places in the repository to places in the site, and indent lists for Python-Markdown."""
    own = page.file.src_uri
    folder = Path(PAGES.get(own, f"docs/{own}")).parent

    def rewritten(link: re.Match[str]) -> str:
        return link[1] + _link(link[2], folder, own) + link[3]

    return _outside_code(indented(markdown), lambda text: _LINK.sub(rewritten, text))


def _link(link: str, folder: Path, own: str) -> str:
    target, hash_sign, anchor = link.partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link
    found = os.path.normpath(folder / target)
    pages = {source: page for page, source in PAGES.items()} | FOLDERS | {source: _copy(source) for source in COPIES}
    place = pages.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else None)
    # MkDocs reports what is neither.
    return link if place is None else os.path.relpath(place, Path(own).parent) + hash_sign + anchor


def _copy(source: str) -> str:
    return f"files/{source}" if Path(source).suffix else f"files/{source}.txt"


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(^ *```.*?^ *```)", text, flags=re.MULTILINE | re.DOTALL)
    for index in range(0, len(parts), 2):
        pieces = _CODE.split(parts[index])
        # A link's text may hold code, so links are changed in the complete text if code holds none.
        parts[index] = (
            change(parts[index])
            if not any(map(_LINK.search, pieces[1::2]))
            else "".join(piece if number % 2 else change(piece) for number, piece in enumerate(pieces))
        )
    return "".join(parts)


def indented(text: str) -> str:
    """Indent the content of list items by four spaces for each level, which Python-Markdown wants.

    GitHub takes the width of the item's marker. A list right after a paragraph gets an empty line before it.
    """
    lines: list[str] = []
    # How far the content of each open item is indented in the source.
    open_items: list[int] = []
    fenced = False
    for line in text.splitlines():
        width = len(line) - len(line.lstrip(" "))
        if not fenced and line.strip():
            ended = not lines or not lines[-1].strip()
            while open_items and width < open_items[-1] and (ended or _ITEM.match(line)):
                open_items.pop()
        item = None if fenced else _ITEM.match(line)
        level = len(open_items)
        shift = open_items[-1] if open_items else 0
        if item and lines and lines[-1].strip() and not open_items and not _ITEM.match(lines[-1]):
            lines.append("")
        lines.append("    " * level + line[min(shift, width) :] if line.strip() else "")
        if item:
            open_items.append(len(item[0]))
        fenced ^= bool(_FENCE.match(line))
    return "\n".join(lines) + "\n"
