"""Runs TensorFlow Lite for Microcontrollers on one file in the child process, and finds the smallest arena that works.

Each arena size is tried in a separate process, because an arena that is too small can cause a segmentation fault rather
than an error.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.child import end_with_parent, enter
from components.device_check.exchange import MODEL_FILE, REFUSED

INPUTS_FILE, OUTPUTS_FILE, ARENA_FILE = "inputs.npz", "outputs.npz", "arena"
# For a model of one time step: pairs of the index of a state's input and the index of the output that returns it.
LOOP_FILE = "loop.json"
# More than any microcontroller has. Only the touched pages occupy memory.
LARGEST_ARENA = 64 << 20
# Alignment of the buffers in an arena, in bytes.
STEP = 16
# The outputs of one example, arrays [1, ...].
Row = list[npt.NDArray[Any]]


def run(folder: Path, seconds: str, workers: str) -> int:
    """Run inputs, each from a reset state. Write `OUTPUTS_FILE` and `ARENA_FILE`, and log the allocations.

    After `seconds`, no more examples start. `OUTPUTS_FILE` then covers the first examples, without a gap.

    `INPUTS_FILE` has one array of raw tensor values per input, `0`, `1`, ..., [N, ...]. `OUTPUTS_FILE` has the same
    form. With a `LOOP_FILE`, states have their values before a sequence [1, ...], and all other arrays are
    [N, time, ...].
    """
    from tflite_micro import runtime

    content = (folder / MODEL_FILE).read_bytes()
    with np.load(folder / INPUTS_FILE) as stored:
        inputs = [stored[str(index)] for index in range(len(stored.files))]
    loop = dict(json.loads((folder / LOOP_FILE).read_text())) if (folder / LOOP_FILE).exists() else {}
    count = next(len(values) for index, values in enumerate(inputs) if index not in loop)

    def example(number: int) -> Row:
        return [values if i in loop else values[number : number + 1] for i, values in enumerate(inputs)]

    def start(arena: int) -> Any:
        return runtime.Interpreter.from_bytes(content, arena_size=arena)

    enter(folder, f"starting in an arena of {LARGEST_ARENA} bytes")
    try:
        interpreter = start(LARGEST_ARENA)
        enter(folder, "running examples")
        first_row = infer_sequence(interpreter, example(0), loop)
    except (RuntimeError, ValueError, IndexError) as error:
        print(error, flush=True)
        return REFUSED
    until = time.monotonic() + float(seconds)
    code, rows = _in_parallel(
        folder, lambda number: infer_sequence(interpreter, example(number), loop), range(1, count), int(workers), until
    )
    if code:
        return code
    outputs = {str(index): np.concatenate(values) for index, values in enumerate(zip(first_row, *rows, strict=True))}
    np.savez(folder / OUTPUTS_FILE, **outputs)
    enter(folder, "printing allocations")
    interpreter.print_allocations()
    enter(folder, "trying arena sizes")
    used = sum(allocations((folder / "log").read_text(errors="replace")))
    first = _frame(example(0), {i: inputs[i] for i in loop}, 0)
    (folder / ARENA_FILE).write_text(str(least(used, lambda size: _survives(lambda: infer(start(size), first)))))
    return 0


def _in_parallel(
    folder: Path, one: Callable[[int], Row], numbers: Sequence[int], workers: int, until: float
) -> tuple[int, list[Row]]:
    """Run the examples in forked processes, until the monotonic time `until`.

    Returns:
        0 and the outputs of the first examples without a gap, or an exit code and nothing.
    """
    shares = [numbers[first::workers] for first in range(min(workers, len(numbers)))]
    processes = [_fork(folder / f"part{index}.npz", one, share, until) for index, share in enumerate(shares)]
    for code in [os.waitpid(process, 0)[1] for process in processes]:
        if os.WIFSIGNALED(code):
            # The caller names the signal. This process ends in the same way as the crashed tool.
            os.kill(os.getpid(), os.WTERMSIG(code))
        if code:
            return os.WEXITSTATUS(code), []
    parts = []
    for index, _ in enumerate(shares):
        with np.load(folder / f"part{index}.npz") as stored:
            parts.append([stored[str(output)] for output in range(len(stored.files))])
    rows: list[Row] = []
    while parts:
        part, place = parts[len(rows) % len(parts)], len(rows) // len(parts)
        if not part or place >= len(part[0]):
            break
        rows.append([values[place : place + 1] for values in part])
    return 0, rows


def _fork(path: Path, one: Callable[[int], Row], share: Sequence[int], until: float) -> int:
    process = os.fork()
    if process:
        return process
    end_with_parent()
    try:
        rows = []
        for number in share:
            if time.monotonic() >= until:
                break
            rows.append(one(number))
        np.savez(path, **{str(index): np.concatenate(values) for index, values in enumerate(zip(*rows, strict=True))})
    except (RuntimeError, ValueError, IndexError) as error:
        print(error, flush=True)
        os._exit(REFUSED)
    except BaseException:
        os._exit(1)
    os._exit(0)


def infer(interpreter: Any, example: Row) -> Row:
    """Run one example, arrays [1, ...]. The reset clears the variables of the previous example."""
    interpreter.reset()
    for index, values in enumerate(example):
        interpreter.set_input(values, index)
    interpreter.invoke()
    outputs: Row = []
    while True:
        try:
            outputs.append(np.array(interpreter.get_output(len(outputs))))
        except IndexError:
            return outputs


def infer_sequence(interpreter: Any, example: Row, loop: Mapping[int, int]) -> Row:
    """Run one example. A model of one time step runs all time steps in turn, and each output is [1, time, ...]."""
    if not loop:
        return infer(interpreter, example)
    states = {taken: example[taken] for taken in loop}
    steps = []
    for index in range(next(values.shape[1] for i, values in enumerate(example) if i not in loop)):
        steps.append(infer(interpreter, _frame(example, states, index)))
        states = {taken: steps[-1][given] for taken, given in loop.items()}
    return [np.stack(values, axis=1) for values in zip(*steps, strict=True)]


def _frame(example: Row, states: Mapping[int, npt.NDArray[Any]], index: int) -> Row:
    """Return a model's inputs at a time step, or all inputs if there are no states."""
    return [states[i] if i in states else values[:, index] if states else values for i, values in enumerate(example)]


def allocations(log: str) -> tuple[int, int]:
    """Return the persistent and non-persistent bytes of the arena from the recording allocator's last log lines."""

    def last(what: str) -> int:
        return int(log.rpartition(f"Arena allocation {what} ")[2].split()[0])

    return last("tail"), last("head")


def least(used: int, works: Callable[[int], bool]) -> int:
    """Return the smallest multiple of `STEP` >= `used` that works, assuming that all larger sizes also work."""
    low, width = -(-used // STEP), 1  # Sizes are in steps. Nothing below `low` works.
    while not works((low + width - 1) * STEP):
        low, width = low + width, width * 2
    high = low + width - 1  # This size works.
    while low < high:
        middle = (low + high) // 2
        if works(middle * STEP):
            high = middle
        else:
            low = middle + 1
    return high * STEP


def _survives(attempt: Callable[[], object]) -> bool:
    """Return whether the attempt succeeds in a separate process."""
    process = os.fork()
    if process == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        try:
            attempt()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0
