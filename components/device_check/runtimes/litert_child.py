"""Runs one file under LiteRT in the child process, without TensorFlow.

It imports only the standard library, numpy, and `ai_edge_litert`, so another Python can run it too: of a different
version, or for a different processor under an emulator.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.child import enter
from components.device_check.exchange import MODEL_FILE, REFUSED
from components.device_check.tflm_child import INPUTS_FILE, LOOP_FILE, OUTPUTS_FILE, Row, infer_sequence
from components.upstream.litert import interpreter


class _Interpreter:
    """LiteRT's interpreter with the methods of TensorFlow Lite Micro's."""

    def __init__(self, content: bytes, kernels: str) -> None:
        self._inner = interpreter(content, kernels)
        self._inner.allocate_tensors()
        self._inputs = [detail["index"] for detail in self._inner.get_input_details()]
        self._outputs = [detail["index"] for detail in self._inner.get_output_details()]

    def reset(self) -> None:
        self._inner.reset_all_variables()

    def set_input(self, values: npt.NDArray[Any], index: int) -> None:
        self._inner.set_tensor(self._inputs[index], np.ascontiguousarray(values))

    def invoke(self) -> None:
        self._inner.invoke()

    def get_output(self, index: int) -> npt.NDArray[Any]:
        return np.asarray(self._inner.get_tensor(self._outputs[index]))


def run(folder: Path, kernels: str, seconds: str) -> int:
    """Run inputs, each from a reset state, with one kind of kernels. The files are those of `tflm_child.run`.

    After `seconds`, no more examples start. `OUTPUTS_FILE` then covers the first examples.
    """
    content = (folder / MODEL_FILE).read_bytes()
    with np.load(folder / INPUTS_FILE) as stored:
        inputs = [stored[str(index)] for index in range(len(stored.files))]
    loop = dict(json.loads((folder / LOOP_FILE).read_text())) if (folder / LOOP_FILE).exists() else {}
    count = next(len(values) for index, values in enumerate(inputs) if index not in loop)
    enter(folder, "loading the file")
    rows: list[Row] = []
    try:
        interpreter = _Interpreter(content, kernels)
        enter(folder, "running examples")
        until = time.monotonic() + float(seconds)
        for number in range(count):
            if rows and time.monotonic() >= until:
                break
            example = [values if i in loop else values[number : number + 1] for i, values in enumerate(inputs)]
            rows.append(infer_sequence(interpreter, example, loop))
    except (RuntimeError, ValueError) as error:
        print(error, flush=True)
        return REFUSED
    outputs = {str(index): np.concatenate(values) for index, values in enumerate(zip(*rows, strict=True))}
    np.savez(folder / OUTPUTS_FILE, **outputs)
    return 0
