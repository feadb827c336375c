"""Verifies that a rebuilt model computes what Keras 3 computes, by running both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import ModelError, summary_line
from components.model.keras3.child import INPUTS_FILE, JOB_FILE, OUTPUTS_FILE
from components.model.keras3.configs import EXPORT, Config, entries_within
from components.model.keras3.facts import RebuiltFacts

Array = npt.NDArray[Any]

# The largest difference of an output, as a fraction of its largest absolute value.
TOLERANCE = 1e-5
_LIMIT_S = 600
_EXAMPLES, _OPEN_SIZE, _OPEN_IMAGE = 3, 16, 32
_IMAGE_RANK = 4
_ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "0", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}


def prove(
    model: Any,
    path: Path,
    config: Config,
    version: str,
    inputs: Sequence[Array] | None = None,
    *,
    modules: Sequence[str] = (),
    trust_code: bool = False,
) -> RebuiltFacts:
    """Compare the outputs of both models on random inputs, and on real ones.

    Args:
        model: The rebuilt model, with its weights.
        path: The file of Keras 3, which a child process loads.
        config: Its configuration.
        version: The version of Keras that wrote it.
        inputs: Real inputs [N, ...], in the order of `model.inputs`.
        modules: Modules that register classes of the model for Keras 3.
        trust_code: Whether the child process may execute code from the file.

    Returns:
        The largest difference.

    Raises:
        ModelError: Keras 3 can't run the model, or the outputs differ by more than `TOLERANCE`.
    """
    sets = {**_random_inputs(model, config), **({} if inputs is None else {"real": list(inputs)})}
    expected = _run_in_child(sets, path, version, list(modules), trust_code)
    largest, scale, place = 0.0, 0.0, ""
    for name, arrays in sets.items():
        found = [
            np.asarray(tensor) for tensor in _flat(model(arrays if len(arrays) > 1 else arrays[0], training=False))
        ]
        for index, output in enumerate(found):
            difference, size = _compared(expected[f"{name}/{index}"], output)
            if difference >= largest:
                largest, scale, place = difference, size, f"output {model.output_names[index]} on {name} inputs"
    if not largest <= TOLERANCE:
        raise ModelError(
            "the model rebuilt in tf-keras has different outputs than the model of Keras 3",
            where=place,
            bound=f"differences of at most {TOLERANCE:g} of the output's scale",
            measured=f"{largest:.2g} of {scale:.3g}",
            remedy=f"report a bug in Edgemill with the model's layers, or {EXPORT}",
        )
    return RebuiltFacts(
        keras_version=version,
        variables=len(model.weights),
        examples={name: len(arrays[0]) for name, arrays in sets.items()},
        largest_difference=largest,
        output_scale=scale,
        tolerance=TOLERANCE,
    )


def _flat(result: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(result))


def _random_inputs(model: Any, config: Config) -> dict[str, list[Array]]:
    """Draw inputs around zero, and inputs like the bytes of images."""
    generator = np.random.default_rng(0)
    # Every index must exist in each embedding.
    sizes = [entry["config"]["input_dim"] for entry in entries_within(config) if entry["class_name"] == "Embedding"]
    highest = min([*sizes, 256])
    sets: dict[str, list[Array]] = {"random": [], "positive": []}
    for tensor in model.inputs:
        rank, dtype = len(tensor.shape), tensor.dtype.as_numpy_dtype
        open_size = _OPEN_IMAGE if rank == _IMAGE_RANK else _OPEN_SIZE
        shape = [tensor.shape[0] or _EXAMPLES, *(size or open_size for size in tensor.shape[1:])]
        for name, arrays in sets.items():
            if tensor.dtype.is_floating:
                drawn: Array = (
                    generator.normal(size=shape) if name == "random" else generator.uniform(0, 255, size=shape)
                )
            else:
                drawn = generator.integers(0, 2 if tensor.dtype.is_bool else highest, size=shape)
            arrays.append(drawn.astype(dtype))
    return sets


def _compared(expected: Array, found: Array) -> tuple[float, float]:
    """The largest difference as a fraction of the scale, and the scale: the largest absolute value."""
    if expected.shape != found.shape:
        return np.inf, 0.0
    one, other = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)) or not finite.any():
        return np.inf, 0.0
    scale = float(np.abs(one[finite]).max())
    difference = float(np.abs(one[finite] - other[finite]).max())
    return (difference / scale if scale else (np.inf if difference else 0.0)), scale


def _run_in_child(
    sets: Mapping[str, Sequence[Array]], path: Path, version: str, modules: list[str], trust_code: bool
) -> dict[str, Array]:
    with tempfile.TemporaryDirectory(prefix="edgemill-keras3-") as name:
        folder = Path(name)
        arrays = {f"{key}/{index}": array for key, given in sets.items() for index, array in enumerate(given)}
        np.savez(folder / INPUTS_FILE, **arrays)
        job = {"path": str(path.resolve()), "modules": modules, "trust_code": trust_code}
        (folder / JOB_FILE).write_text(json.dumps(job))
        search = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        try:
            child = subprocess.run(
                [sys.executable, "-m", "components.model.keras3.child", name],
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": search},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _no_proof(path, version, f"no result after {_LIMIT_S} s") from error
        if child.returncode:
            raise _no_proof(path, version, _last_line(child.stderr) or f"exit code {child.returncode}")
        with np.load(folder / OUTPUTS_FILE) as stored:
            return {key: stored[key] for key in stored.files}


def _no_proof(path: Path, version: str, cause: str) -> ModelError:
    from importlib.metadata import version as installed

    return ModelError(
        f"the model cannot be run in Keras {installed('keras')}, so its rebuilt form cannot be checked: {cause}",
        where=str(path),
        bound=f"a model that Keras {installed('keras')} loads",
        measured=f"a file of Keras {version}",
        remedy="if the task's classes are missing, register them in the task's module with "
        f"tf.keras.utils.register_keras_serializable, not with tf_keras; otherwise {EXPORT}",
    )


def _last_line(log: str) -> str:
    """The error in a child's log, which ends with Python's traceback."""
    lines = log.rstrip().splitlines()
    starts = [index for index, line in enumerate(lines) if line and not line[0].isspace()]
    return summary_line(Exception("\n".join(lines[starts[-1] :]))) if starts else ""
