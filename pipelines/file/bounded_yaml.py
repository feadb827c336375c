"""Reads handwritten YAML files within size limits, so that any other file causes an error, never a hang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.core.errors import SpecError
from components.core.files import NotARegularFileError, read_regular

# A pipeline file with a hundred recipes has 30 KiB.
MAX_BYTES = 512 << 10
MAX_DEPTH = 50
MAX_NODES = 100_000
# Digits of a number. Python parses longer integers in bases other than ten, but can't print or check them.
MAX_DIGITS = 1_000
_INTEGER = "tag:yaml.org,2002:int"


def read_small_text(path: Path) -> str:
    """Read the text of a regular file of at most `MAX_BYTES`.

    Raises:
        SpecError: The file is a device, a pipe, or a socket, or it is too large.
        OSError: The file can't be read.
        ValueError: The path contains a NUL byte, or the content isn't UTF-8.
    """
    try:
        content = read_regular(path, MAX_BYTES + 1)
    except NotARegularFileError as error:
        kind = "a folder" if path.is_dir() else "a device, a pipe or a socket"
        raise SpecError("is not a regular file", measured=kind, remedy="specify a YAML file") from error
    if len(content) > MAX_BYTES:
        raise SpecError(
            "is too large for a pipeline, environment, or device file",
            bound=f"at most {MAX_BYTES:,} bytes",
            measured="more",
            remedy="check that this is the right file",
        )
    return content.decode("utf-8").removeprefix("\ufeff")


class BoundedLoader(yaml.SafeLoader):
    """Refuses nesting that is too deep for code that reads the content."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """See the base class."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SpecError(
                "is nested too deeply", bound=f"at most {MAX_DEPTH} levels", measured="more", remedy="flatten it"
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def refuse_unusable(root: yaml.Node) -> None:
    """Raise a SpecError if aliases expand to too many nodes or are recursive, or if a scalar is unusable."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise SpecError("has an alias inside its own anchor", remedy="replace the alias with its content")
            return known
        sizes[id(node)] = None
        if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
            line = f"line {node.start_mark.line + 1}"
            raise SpecError("contains a NUL byte", where=line, remedy="remove it: paths and names can't contain one")
        if isinstance(node, yaml.ScalarNode) and node.tag == _INTEGER and len(node.value) > MAX_DIGITS:
            raise SpecError(
                "this number is too long",
                where=f"line {node.start_mark.line + 1}",
                bound=f"at most {MAX_DIGITS:,} characters",
                measured=f"{len(node.value):,}",
                remedy="correct it, or quote it if it is text",
            )
        sizes[id(node)] = found = 1 + sum(size(child) for child in _children(node))
        return found

    nodes = size(root)
    if nodes > MAX_NODES:
        raise SpecError(
            "its aliases expand to too many values",
            bound=f"at most {MAX_NODES:,} values",
            measured=f"{nodes:,}",
            remedy="remove aliases of aliases",
        )


def _children(node: yaml.Node) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
