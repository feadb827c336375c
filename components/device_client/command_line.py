"""The command line of `edgemill-device`, and shell completion. One table describes both."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from components.device_client.errors import DeviceStatus, SettingsError

COMMAND = "edgemill-device"
_FOLDER: tuple[str, dict[str, Any]] = (
    "folder",
    {"type": Path, "metavar": "FOLDER", "help": "The device's folder."},
)
# Options of each command.
OUTPUT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--json", {"action": "store_true", "help": "Print one JSON document, even for an error."}),
    ("--quiet", {"action": "store_true", "help": "Print only errors."}),
)
# Command -> what it does, and its arguments.
COMMANDS: dict[str, tuple[str, tuple[tuple[str, dict[str, Any]], ...]]] = {
    "init": (
        "Create a device's folder.",
        (
            _FOLDER,
            ("--url", {"required": True, "help": "Address of the registry: https://... or oci://..."}),
            (
                "--root",
                {"required": True, "type": Path, "metavar": "FILE", "help": "The root.json that the device trusts."},
            ),
            ("--device-class", {"required": True, "help": "The device class, as in the device's profile."}),
            ("--name", {"required": True, "help": "Name of the pipeline."}),
            ("--channel", {"default": "stable", "help": "canary, beta, or stable [stable]."}),
            ("--device-id", {"required": True, "help": "Text that identifies the device and never changes."}),
            (
                "--self-test",
                {
                    "default": "",
                    "metavar": "COMMAND",
                    "help": "Command that tests a new model. The model's path is appended to it.",
                },
            ),
            (
                "--self-test-seconds",
                {"type": float, "default": 300.0, "metavar": "SECONDS", "help": "Time limit of the self-test [300]."},
            ),
            (
                "--gateway",
                {"action": "store_true", "help": "Pass the model on to microcontrollers: also write its role file."},
            ),
        ),
    ),
    "pull": (
        "Fetch and install the release of the channel.",
        (_FOLDER, ("--retry", {"action": "store_true", "help": "Try releases again that failed the self-test."})),
    ),
    "status": ("Print the installed versions and how the last pull ended, as JSON.", (_FOLDER,)),
    "completion": (
        "Print a script that completes this command in a shell.",
        (("shell", {"choices": ("bash", "zsh", "fish"), "metavar": "SHELL", "help": "bash, zsh, or fish."}),),
    ),
}


class _Parser(argparse.ArgumentParser):
    """Also reports an invalid command line as a JSON document if it has --json."""

    asked_json = False

    def error(self, message: str) -> NoReturn:
        """See the base class."""
        if _Parser.asked_json:
            error = SettingsError(message, where=self.prog, remedy=f"see `{self.prog} --help`")
            print_error(error.as_json(), DeviceStatus.BAD_INPUT)
        super().error(message)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line. Ends the process if it is invalid or asks for help."""
    words = sys.argv[1:] if arguments is None else arguments
    _Parser.asked_json = "--json" in words
    parser = _Parser(prog=COMMAND, description="Keep the model of this device up to date.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (what, taken) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        for argument, options in (*taken, *OUTPUT):
            command.add_argument(argument, **options)
    return parser.parse_args(words)


def print_error(error: dict[str, object], status: DeviceStatus, found: dict[str, object] | None = None) -> None:
    """Print an error as JSON, as `edgemill` does, after the results so far."""
    document = {**(found or {}), "error": error, "exit_status": int(status), "exit_meaning": status.name}
    print(json.dumps(document, indent=2))


def completion(shell: str) -> str:
    """A script that completes the command in `bash`, `zsh`, or `fish`."""
    flags = {
        name: [argument for argument, _ in (*taken, *OUTPUT) if argument.startswith("--")]
        for name, (_, taken) in COMMANDS.items()
    }
    if shell == "fish":
        lines = [f"complete -c {COMMAND} -n __fish_use_subcommand -f -a {name} -d {shlex.quote(what)}"
                 for name, (what, _) in COMMANDS.items()]  # fmt: skip
        lines += [
            f"complete -c {COMMAND} -n '__fish_seen_subcommand_from {name}' -l {argument[2:]} "
            f"-d {shlex.quote(options['help'])}"
            for name, (_, taken) in COMMANDS.items()
            for argument, options in (*taken, *OUTPUT)
            if argument.startswith("--")
        ]
        return "\n".join(lines)
    cases = "\n".join(f"    {name}) words='{' '.join(found)}' ;;" for name, found in flags.items())
    script = f"""\
_edgemill_device() {{
  local words
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words='' ;;
  esac
  # Arguments that aren't options are files.
  case "${{COMP_WORDS[COMP_CWORD]}}" in -*) ;; *) words='' ;; esac
  [ "$COMP_CWORD" -eq 1 ] && words='{" ".join(flags)}'
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _edgemill_device {COMMAND}"""
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script
