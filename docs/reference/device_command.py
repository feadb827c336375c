"""The reference page of `edgemill-device`. Needs neither TensorFlow nor TFX."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from components.device_client.command_line import COMMAND, COMMANDS, OUTPUT
from components.device_client.errors import DeviceStatus

_INTRODUCTION = """\
`edgemill-device` keeps the model of a device up to date from a signed registry. The extra `device` of the wheel
installs what it needs, without TensorFlow and TFX. See [Update a device](../registry.md#update-a-device) for how to use
it, and [gateways](../gateway.md) for how to pass models on to microcontrollers."""


def device_command_page() -> list[str]:
    """The blocks of the page, from the table of the command line."""
    blocks = ["# Commands of devices", _INTRODUCTION]
    for name, (text, taken) in COMMANDS.items():
        usage = [COMMAND, name, *(_usage(argument, options) for argument, options in taken), "[OPTIONS]"]
        rows = [f"| `{_named(argument, options)}` | {_described(argument, options)} |"
                for argument, options in (*taken, *OUTPUT)]  # fmt: skip
        blocks += [f"## {name}", f"```text\n{' '.join(filter(None, usage))}\n```", text]
        blocks.append("\n".join(["| Argument or option | Description |", "|---|---|", *rows]))
    rows = [f"| {status.value} | `{status.name}` | {meaning} |" for status, meaning in _statuses()]
    blocks += ["## Exit statuses", "\n".join(["| Status | Name | Meaning |", "|---|---|---|", *rows])]
    return blocks


def _usage(argument: str, options: Mapping[str, Any]) -> str:
    return _named(argument, options) if not argument.startswith("--") or options.get("required") else ""


def _named(argument: str, options: Mapping[str, Any]) -> str:
    if not argument.startswith("--"):
        return str(options["metavar"])
    if options.get("action") == "store_true":
        return argument
    return f"{argument} {options.get('metavar') or argument[2:].upper().replace('-', '_')}"


def _described(argument: str, options: Mapping[str, Any]) -> str:
    return str(options["help"]) + (" Required." if options.get("required") and argument.startswith("--") else "")


def _statuses() -> Iterator[tuple[DeviceStatus, str]]:
    """Each exit status with its docstring, which Python doesn't keep."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(DeviceStatus))).body
    assert isinstance(found, ast.ClassDef)
    for value, meaning in zip(found.body[1::2], found.body[2::2], strict=True):
        match value, meaning:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                yield DeviceStatus[name], " ".join(text.split())
