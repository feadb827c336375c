"""The child process: runs one tool on one file, in a folder with everything it reads and writes.

It imports only the standard library, numpy, and the tool, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from components.core.child import end_with_parent, enter
from components.device_check.exchange import MODEL_FILE, NO_TOOL, REFUSED


def vela(folder: Path, options: list[str]) -> int:
    """Compile `MODEL_FILE`. Vela writes its tables to the same folder and its warnings to standard output."""
    from ethosu.vela.errors import VelaError
    from ethosu.vela.vela import main

    enter(folder, "compiling for the NPU")
    try:
        code = main([str(folder / MODEL_FILE), "--output-dir", str(folder), *options])
    except (RuntimeError, VelaError) as error:
        print(error, flush=True)
        return REFUSED
    return REFUSED if code else 0


def tflm(folder: Path, options: list[str]) -> int:
    """Run `MODEL_FILE` on the inputs in the folder."""
    from components.device_check.tflm_child import run

    return run(folder, *options)


def litert(folder: Path, options: list[str]) -> int:
    """Run `MODEL_FILE` on the inputs in the folder, under LiteRT."""
    from components.device_check.runtimes.litert_child import run

    return run(folder, *options)


def main(arguments: list[str]) -> int:
    """Run `child TOOL FOLDER PARENT [OPTION...]`, and return the exit code."""
    tool, folder, parent, *options = arguments
    end_with_parent()
    if os.getppid() != int(parent):
        return 1  # The parent died before prctl took effect.
    try:
        return {"vela": vela, "tflm": tflm, "litert": litert}[tool](Path(folder), options)
    except ImportError as error:
        print(error, flush=True)
        return NO_TOOL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
