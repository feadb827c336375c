"""The reference pages of shipped devices and of public names. Needs neither TensorFlow nor TFX."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

import edgemill
from components.spec.devices.device import DeviceProfile

_DEVICES = Path("pipelines/devices")
_DEVICES_INTRODUCTION = """\
A pipeline file names these profiles without a path: `devices: [phone_cpu]`. To change one, copy its file from
[`pipelines/devices/`](../../pipelines/devices), give the copy another name, and name its path. The fields are those of
a [device profile](device-profile.md)."""

_NAMES_INTRODUCTION = """\
Import these names from `edgemill`. Each is imported when it is first used, so that only names that need TensorFlow
import it. Everything else in the packages can change with any version."""


def devices_page() -> list[str]:
    """The blocks of the page of shipped device profiles."""
    blocks = ["# Shipped devices", _DEVICES_INTRODUCTION]
    for file in sorted(_DEVICES.glob("*.yaml")):
        profile = DeviceProfile.model_validate(yaml.safe_load(file.read_text()))
        set_fields = profile.model_dump(mode="json", exclude_unset=True, exclude={"name", "description"})
        rows = [f"| `{field}` | {_shown(value)} |" for field, value in set_fields.items()]
        blocks += [f"## {profile.name}", _wrapped(profile.description)]
        blocks.append("\n".join(["| Field | Value |", "|---|---|", *rows]))
    return blocks


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, str | float):
        return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
    return f"`{yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).strip()}`"


def public_names_page() -> list[str]:
    """The blocks of the page of public names, from their source."""
    blocks = ["# Public names", _NAMES_INTRODUCTION]
    for name in sorted(edgemill.__all__, key=str.lower):
        file = Path(*edgemill._HOMES[name].split(".")).with_suffix(".py")
        (found,) = [
            node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name
        ]
        bases = ", ".join(ast.unparse(base) for base in found.bases if ast.unparse(base) != "Protocol")
        blocks += [f"## {name}", f"```python\nfrom edgemill import {name}{_constructor(found)}\n```"]
        blocks += [f"Derives from `{bases}`."] if bases else []
        blocks += _prose(ast.get_docstring(found) or "")
        rows = list(_methods(found))
        if rows:
            blocks.append("\n".join(["| Method | Description |", "|---|---|", *rows]))
    return blocks


def _constructor(found: ast.ClassDef) -> str:
    made = [node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    return "".join(f"\n\n{found.name}({_arguments(node)})" for node in made)


def _arguments(node: ast.FunctionDef) -> str:
    return ast.unparse(node.args).removeprefix("self").lstrip(", ")


def _methods(found: ast.ClassDef) -> Iterator[str]:
    for node in found.body:
        if not isinstance(node, ast.FunctionDef) or (
            node.name.startswith("_") and node.name not in {"__init__", "__call__"}
        ):
            continue
        text = ast.get_docstring(node)
        if text is None and node.name in {"__init__", "__call__"} and not node.args.args[1:]:
            continue
        returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
        first = " ".join((text or "").split("\n\n")[0].split())
        signature = f"{node.name}({_arguments(node)}){returns}".replace("|", "\\|")
        yield f"| `{signature}` | {first.replace('|', chr(92) + '|')} |"


def _prose(text: str) -> list[str]:
    """The paragraphs of a docstring. Its sections become lists."""
    blocks = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        section = re.match(r"(Args|Attributes|Raises|Returns):\n", paragraph)
        if section is None:
            blocks.append(_wrapped(" ".join(paragraph.split())))
            continue
        items: list[str] = []
        for line in textwrap.dedent(paragraph.partition("\n")[2]).splitlines():
            if line.startswith(" ") and items:
                items[-1] += f" {line.strip()}"
            else:
                items.append(line)
        blocks.append("\n".join(re.sub(r"^([\w, ]+?): ", r"- `\1`: ", item) for item in items))
    return blocks


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False, break_long_words=False)
