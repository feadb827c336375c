"""The plain converter script that Edgemill is compared with, and the plain interpreter loop."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.zoo_cells.judge import Arrays, PlainFile, error_of
from components.facts.artifact_paths import SIGNATURE
from components.model.tflite_file import inspect_model

_WIDE = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def plain_script(serving: Path, recipe: str, inputs: Arrays, wanted: Arrays) -> PlainFile:
    """Convert the float SavedModel with the code from TensorFlow Lite's documentation, and run the file."""
    try:
        content = _convert(serving, recipe, inputs)
        found, _ = loop(content, inputs)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return PlainFile(None, f"{type(error).__name__}: {lines[-1].strip()[:160]}")
    inspected = inspect_model(content)
    broken = ""
    if recipe in {"int8", "int16x8"} and inspected.float_tensors:
        broken = f"{len(inspected.float_tensors)} tensors are floats"
    elif recipe == "dynamic":
        quantized = sum(math.prod(weight.shape) for weight in inspected.weights if weight.dtype == "INT8")
        total = sum(math.prod(weight.shape) for weight in inspected.weights)
        broken = "" if 2 * quantized > total else f"{quantized:,} of {total:,} weights are quantized"
    return PlainFile(error_of(wanted, found), broken, keeps_promise=not broken)


# A plain script for a file of Keras 3, which this process can't load.
_OF_KERAS_3 = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "0"
import keras, tensorflow as tf
model = keras.models.load_model(sys.argv[1], compile=False)
open(sys.argv[2], "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


def plain_import(path: Path) -> PlainFile:
    """Convert a baseline that Edgemill doesn't accept to float32, and run the file on zeros."""
    try:
        interpreter = tf.lite.Interpreter(model_content=_float_file(path))
        interpreter.allocate_tensors()
        interpreter.invoke()
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return PlainFile(None, f"{type(error).__name__}: {lines[-1].strip()[:160]}")
    return PlainFile(0.0)


def _float_file(path: Path) -> bytes:
    if path.is_dir():
        return bytes(tf.lite.TFLiteConverter.from_saved_model(str(path)).convert())
    if path.suffix == ".tflite":
        return path.read_bytes()
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except Exception as ours:
        made = path.with_suffix(".tflite")
        command = [sys.executable, "-c", _OF_KERAS_3, str(path), str(made)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode == 0:
            return made.read_bytes()
        raise ours
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def _convert(serving: Path, recipe: str, inputs: Arrays) -> bytes:
    model = tf.saved_model.load(str(serving))
    signature = model.signatures[SIGNATURE]
    specs = signature.structured_input_signature[1]
    fixed = {name: tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name=name) for name, spec in specs.items()}
    concrete = tf.function(signature).get_concrete_function(**fixed)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if recipe != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe in {"int8", "int16x8"}:
        converter.representative_dataset = lambda: (
            {name: values[index : index + 1] for name, values in inputs.items()}
            for index in range(len(next(iter(inputs.values()))))
        )
        narrow = recipe == "int8"
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8 if narrow else _WIDE]
        if all(spec.dtype == tf.float32 for spec in specs.values()):
            converter.inference_input_type = tf.int8 if narrow else tf.int16
            converter.inference_output_type = tf.int8 if narrow else tf.int16
    return bytes(converter.convert())


def loop(content: bytes, inputs: Arrays) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float | None]]:
    """Run a file one example at a time, without Edgemill.

    Returns:
        Output -> array [N, ...] of real values; and output -> its scale, None if it is not quantized.
    """
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    # A signature runner would run without the default delegate, whose kernels round differently.
    interpreter.allocate_tensors()
    signature = interpreter.get_signature_runner()
    taken, given = signature.get_input_details(), signature.get_output_details()
    del signature  # The interpreter refuses to run while something refers to it.
    rows: list[dict[str, npt.NDArray[Any]]] = []
    for index in range(len(next(iter(inputs.values())))):
        interpreter.reset_all_variables()
        for name, detail in taken.items():
            interpreter.set_tensor(detail["index"], _quantized(inputs[name][index : index + 1], detail))
        interpreter.invoke()
        rows.append({name: interpreter.get_tensor(detail["index"]) for name, detail in given.items()})
    scales = {name: float(detail["quantization"][0]) or None for name, detail in given.items()}
    return {name: np.concatenate([_real(row[name], detail) for row in rows]) for name, detail in given.items()}, scales


def _quantized(values: npt.NDArray[Any], detail: Mapping[str, Any]) -> npt.NDArray[Any]:
    scale, zero = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        values = np.clip(np.rint(values / np.float32(scale)) + zero, limits.min, limits.max)
    return values.astype(detail["dtype"])


def _real(values: npt.NDArray[Any], detail: Mapping[str, Any]) -> npt.NDArray[Any]:
    scale, zero = detail["quantization"]
    return ((values.astype(np.float64) - zero) * scale).astype(np.float32) if scale else values
