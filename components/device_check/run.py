"""Runs a candidate under another runtime, in a child process, on the inputs that the desktop runtime takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.device_check.exchange import MODEL_FILE
from components.device_check.tflm_child import INPUTS_FILE, LOOP_FILE, OUTPUTS_FILE
from components.device_check.tool import run_tool
from components.facts.device import ToolFailure
from components.model.tflite_runtime import TFLiteModel

Array = npt.NDArray[Any]


def run_on_inputs(
    name: str,
    kind: str,
    folder: Path,
    desktop: TFLiteModel,
    content: bytes,
    given: Mapping[str, Array],
    timeout_s: float,
    options: Sequence[str],
    python: str = sys.executable,
) -> tuple[dict[str, Array], str] | ToolFailure:
    """Run a file. A file of a single time step runs through complete sequences, with states from the tool itself.

    Args:
        name, kind, timeout_s, options, python: As for `run_tool`.
        folder: An empty folder for the files of the tool.
        desktop: The file under the desktop runtime.
        content: The TFLite file.
        given: Input name -> raw tensor values [N, ...], from `desktop.to_tensors`.

    Returns:
        Output name -> raw tensor values [n, ...] of the first n examples that it completed, and the tool's
        standard output and error; or why it failed.
    """
    (folder / MODEL_FILE).write_bytes(content)
    taken, returned = desktop.tensor_names
    arrays = {**given, **desktop.zero_states(1)}
    np.savez(folder / INPUTS_FILE, **{str(index): arrays[each] for index, each in enumerate(taken)})
    if desktop.streaming:
        pairs = [(taken.index(a), returned.index(b)) for (a, _), (b, _) in desktop.state_details()]
        (folder / LOOP_FILE).write_text(json.dumps(pairs))
    log = run_tool(name, kind, folder, timeout_s, options, python)
    if isinstance(log, ToolFailure):
        return log
    with np.load(folder / OUTPUTS_FILE) as stored:
        found = {output: stored[str(index)] for index, output in enumerate(returned)}
    if desktop.streaming and not desktop.each_step:
        found = {output: values[:, -1] for output, values in found.items()}
    return {output: found[output] for output in desktop.output_names}, log
