"""Compares sparse-encoded files of a network at 80 % block sparsity with dense float and int8 files, in one process.

The network has four fully connected layers with ReLU, with zeros in blocks of 16 weights along the input axis. It is
converted four times (float32 and int8, dense and sparse). The outputs are compared, and the files are timed
interleaved, the dense float file twice.

    python benchmarks/sparsity.py [--width 4096] [--layers 4] [--sparsity 0.8]

Bounds: the fastest sparse file takes at most a third of the time of float dense, and int8 dense takes at least 1.3
times as long as the fastest sparse file. The second ratio depends on the processor and on the size. XNNPACK's dense
int8 kernels use VNNI if the processor has it (`lscpu | grep vnni`), and TFLite's sparse int8 kernel is plain C++ on
x86. If dense weights fit the caches, reading them is faster than computing with sparse ones (try `--width 2048`); if
not, they wait for memory. For comparison, int8 dense is also timed with TFLite's built-in kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported

FLOAT_BAR, INT8_BAR = 3.0, 1.3
BLOCK = 16
ROUNDS = 300  # Other processes share the memory, so minima need more rounds.
TWIN, BUILTIN = "float32 dense, twin", "int8 dense, built-in kernels"


def kernels(width: int, layers: int, sparsity: float) -> list[np.ndarray]:
    """Kernels [width, width]. Each column has the same number of nonzero blocks, at random positions."""
    random = np.random.default_rng(1)
    blocks = width // BLOCK
    kept = round(blocks * (1 - sparsity))
    made = []
    for _ in range(layers):
        mask = np.zeros((width, blocks), bool)
        for row in mask:
            row[random.permutation(blocks)[:kept]] = True
        scale = (2 / (kept * BLOCK)) ** 0.5  # He et al. 2015: keeps the size of activations.
        kernel = random.normal(size=(width, width), scale=scale) * np.repeat(mask, BLOCK, axis=1)
        made.append(kernel.T.astype(np.float32))
    return made


def save(made: list[np.ndarray], folder: Path) -> None:
    """Save the network as a SavedModel."""
    import tensorflow as tf

    module = tf.Module()
    module.kernels = [tf.Variable(kernel) for kernel in made]

    def serve(features: tf.Tensor) -> dict[str, tf.Tensor]:
        for kernel in module.kernels[:-1]:
            features = tf.nn.relu(tf.matmul(features, kernel))
        return {"outputs": tf.matmul(features, module.kernels[-1])}

    spec = tf.TensorSpec([None, len(made[0])], tf.float32, name="features")
    module.serve = tf.function(serve, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def convert_all(folder: Path, width: int) -> dict[str, bytes]:
    """Convert the network to the four files with Edgemill's converter."""
    from components.convert.tensorflow.converter import convert
    from components.spec.scheme import Float32, StaticWi8Ai8

    examples = np.random.default_rng(2).normal(size=(50, 1, width)).astype(np.float32)

    def samples() -> Iterator[dict[str, Any]]:
        return ({"": example} for example in examples)

    return {
        f"{name} {'sparse' if sparse else 'dense'}": convert(folder, scheme, samples, sparse=sparse)
        for name, scheme in (("float32", Float32()), ("int8", StaticWi8Ai8()))
        for sparse in (False, True)
    }


def check(files: dict[str, bytes]) -> dict[str, float]:
    """Each sparse file's largest output difference from itself and its dense twin, both without delegates.

    Asserts that no weight is densified.
    """
    from components.convert.checks.sparse import largest_difference, outputs, random_inputs
    from components.model.tflite_weights import weight_uses

    differences = {}
    for name in ("float32", "int8"):
        sparse, dense = files[f"{name} sparse"], files[f"{name} dense"]
        for use in weight_uses(sparse):
            assert use.fact.sparse_encoded and not use.densify, f"{name}: {use}"
        probes = random_inputs(sparse)
        found = outputs(sparse, probes)
        differences[name] = max(
            largest_difference(found, outputs(content, probes, delegates=False)) for content in (sparse, dense)
        )
    return differences


def time_all(files: dict[str, bytes]) -> dict[str, float]:
    """File -> minimum time of one invocation, in seconds, from an attempt in which the twins agree."""
    from components.convert.checks.sparse import loaded, random_inputs
    from components.core.timing import ATTEMPTS, interleaved_minima, twins_agree

    timed = {**files, TWIN: files["float32 dense"], BUILTIN: files["int8 dense"]}
    runs = {
        name: loaded(content, random_inputs(content)[0], delegates=name != BUILTIN).invoke
        for name, content in timed.items()
    }
    for attempt in range(ATTEMPTS):
        seconds = {str(name): value for name, value in interleaved_minima(runs, attempt, ROUNDS).items()}
        if twins_agree(seconds["float32 dense"], seconds[TWIN]):
            return seconds
    raise SystemExit(f"the machine is too noisy: the twins took {seconds['float32 dense']} and {seconds[TWIN]} s")


def main() -> int:
    """Measure and print. Returns 0 if both bounds are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=4096, help=f"a multiple of {BLOCK}")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--sparsity", type=float, default=0.8)
    asked = parser.parse_args()

    from components.core.compression import compressed_bytes

    with tempfile.TemporaryDirectory() as name:
        save(kernels(asked.width, asked.layers, asked.sparsity), Path(name))
        files = convert_all(Path(name), asked.width)
    differences = check(files)
    seconds = time_all(files)
    floats = min(seconds["float32 dense"], seconds[TWIN])
    fastest = min(("float32 sparse", "int8 sparse"), key=lambda name: seconds[name])
    ratios = {"float32 dense": floats / seconds[fastest], "int8 dense": seconds["int8 dense"] / seconds[fastest]}
    facts = {
        "model": f"{asked.layers} layers of {asked.width} x {asked.width}, {asked.sparsity:g} sparse in blocks of 1x16",
        "microseconds": {name: round(value * 1e6, 1) for name, value in seconds.items()},
        "bytes": {
            name: {"raw": len(content), **compressed_bytes(content).model_dump()} for name, content in files.items()
        },
        "largest difference of outputs": {name: float(f"{value:.2g}") for name, value in differences.items()},
        "fastest sparse file": fastest,
        "times as fast as float32 dense": round(ratios["float32 dense"], 2),
        "bar of float32 dense": FLOAT_BAR,
        "times as fast as int8 dense": round(ratios["int8 dense"], 2),
        "bar of int8 dense": INT8_BAR,
        "times as fast as int8 dense by built-in kernels": round(seconds[BUILTIN] / seconds[fastest], 2),
    }
    print(json.dumps(facts, indent=2))
    return 0 if ratios["float32 dense"] >= FLOAT_BAR and ratios["int8 dense"] >= INT8_BAR else 1


if __name__ == "__main__":
    sys.exit(main())
