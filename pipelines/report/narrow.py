"""Makes tables readable on narrow screens: each cell has the heading of its column, which the style sheet shows."""

from __future__ import annotations

import re
from html import escape

_TABLE = re.compile(r'<table class="(?:wide|heat)">.*?</table>', re.DOTALL)
_HEAD = re.compile(r"<thead>(.*?)</thead>", re.DOTALL)
_BODY = re.compile(r"<tbody>(.*?)</tbody>", re.DOTALL)
_ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<(th|td)\b([^>]*)>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_SPAN = re.compile(r'colspan="(\d+)"')


def label_cells(html: str) -> str:
    """Add `data-label` to the cells of tables with the class `wide` or `heat`, and put their content into a block.

    Expects HTML from the templates: no nested tables, and no attribute that contains `>`.
    """
    return _TABLE.sub(lambda table: _labeled(table[0]), html)


def _labeled(table: str) -> str:
    head = _HEAD.search(table)
    if head is None:
        return table
    headings: list[str] = []
    for cell in _CELL.finditer(head[1]):
        headings += [" ".join(_TAG.sub(" ", cell[3]).split())] * _width(cell[2])

    def row(found: re.Match[str]) -> str:
        column = 0

        def labeled(cell: re.Match[str]) -> str:
            nonlocal column
            first, width = column, _width(cell[2])
            column += width
            # The first cell is the title of its row. A cell of several columns explains itself.
            if first == 0 or width > 1 or first >= len(headings) or not headings[first]:
                return cell[0]
            # The text of the heading is already escaped, except for quotation marks.
            label = headings[first].replace('"', escape('"'))
            return f'<{cell[1]}{cell[2]} data-label="{label}"><div>{cell[3]}</div></{cell[1]}>'

        return _CELL.sub(labeled, found[0])

    return _BODY.sub(lambda body: _ROW.sub(row, body[0]), table)


def _width(attributes: str) -> int:
    span = _SPAN.search(attributes)
    return int(span[1]) if span else 1
