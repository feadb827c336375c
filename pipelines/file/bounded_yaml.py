"""Files that people write, read within bounds: what is no such file ends in an error at once, never in a hang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.core.errors import SpecError
from components.core.files import NotARegularFileError, read_regular

# A pipeline file of a hundred recipes has 30 KiB.
MAX_BYTES = 512 << 10
MAX_DEPTH = 50
MAX_NODES = 100_000
# Of a number. Python makes larger integers of other bases than ten, but neither prints nor checks them.
MAX_DIGITS = 1_000
_INTEGER = "tag:yaml.org,2002:int"


def read_small_text(path: Path) -> str:
    """The text of a regular file of at most `MAX_BYTES`.

    Raises:
        SpecError: It is a device, a pipe or a socket, or larger.
        OSError: It cannot be read.
        ValueError: The path holds a NUL byte, or the content is not UTF-8.
    """
    try:
        content = read_regular(path, MAX_BYTES + 1)
    except NotARegularFileError as error:
        kind = "a folder" if path.is_dir() else "a device, a pipe or a socket"
        raise SpecError("is no regular file", measured=kind, remedy="name a YAML file") from error
    if len(content) > MAX_BYTES:
        raise SpecError(
            "is too large for a file that people write",
            bound=f"at most {MAX_BYTES:,} bytes",
            measured="more",
            remedy="check that this is the right file",
        )
    return content.decode("utf-8").removeprefix("\ufeff")


class BoundedLoader(yaml.SafeLoader):
    """Refuses nesting and aliases that no reader of the content could take."""

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
    """Raise a SpecError if aliases stand for too many nodes, or for themselves, or if a scalar cannot be used."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise SpecError("has an alias inside its own anchor", remedy="write out what the alias stands for")
            return known
        sizes[id(node)] = None
        if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
            line = f"line {node.start_mark.line + 1}"
            raise SpecError("holds a NUL byte", where=line, remedy="remove it: no path and no name may hold one")
        if isinstance(node, yaml.ScalarNode) and node.tag == _INTEGER and len(node.value) > MAX_DIGITS:
            raise SpecError(
                "this number is too long",
                where=f"line {node.start_mark.line + 1}",
                bound=f"at most {MAX_DIGITS:,} characters",
                measured=f"{len(node.value):,}",
                remedy="correct it, or quote it if it is a text",
            )
        sizes[id(node)] = found = 1 + sum(size(child) for child in _children(node))
        return found

    nodes = size(root)
    if nodes > MAX_NODES:
        raise SpecError(
            "its aliases stand for too much",
            bound=f"at most {MAX_NODES:,} values",
            measured=f"{nodes:,}",
            remedy="remove aliases of aliases",
        )


def _children(node: yaml.Node) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
