"""Compares sampling with reading and counting the same records in Beam. Bound: at most 1.3 times the time.

`python benchmarks/sampling.py` writes 150,000 small examples to gzipped TFRecord shards in a temporary folder. It runs
the pipelines interleaved in this process (DirectRunner, in memory), and compares minima over the rounds of wall time
and of this process's CPU time, which other work on the machine affects less.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported

import apache_beam as beam  # isort: skip
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.calibrate.sampling import SampleExamples
from components.spec.calibrate import CalibrationSpec

RECORDS, SHARDS, ROUNDS = 150_000, 5, 5
BOUND = 1.3


def main() -> None:
    """Print the minimum seconds and the ratio of each pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        pattern = str(Path(folder, "*.gz"))
        pipelines: dict[str, Any] = {
            "read and count": beam.combiners.Count.Globally(),
            "uniform, 500 samples": SampleExamples(CalibrationSpec(samples=500)),
            "proportional, 500": SampleExamples(CalibrationSpec(samples=500, stratify_by="label")),
            "balanced, 500": SampleExamples(CalibrationSpec(samples=500, stratify_by="label", stratify="balanced")),
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in pipelines}
        for _ in range(ROUNDS):
            for name in random.sample(list(pipelines), len(pipelines)):
                measured[name].append(_timed(lambda name=name: _run(pattern, pipelines[name])))
    least = {name: [min(column) for column in zip(*rounds, strict=True)] for name, rounds in measured.items()}
    base = least["read and count"]
    print(f"{RECORDS:,} examples, {SHARDS} shards, minima of {ROUNDS} rounds; bound {BOUND}")
    for name, (wall, cpu) in least.items():
        print(f"{name:22} wall {wall:5.2f} s  ratio {wall / base[0]:.2f}   CPU {cpu:5.2f} s  ratio {cpu / base[1]:.2f}")


def _write(folder: Path) -> None:
    source = random.Random(1)
    for shard in range(SHARDS):
        with tf.io.TFRecordWriter(str(folder / f"data-{shard}.gz"), "GZIP") as writer:
            for _ in range(RECORDS // SHARDS):
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(source.randbytes(64))
                example.features.feature["label"].int64_list.value.append(source.randrange(10))
                writer.write(example.SerializeToString())


def _run(pattern: str, transform: Any) -> None:
    options = PipelineOptions(["--runner=DirectRunner", "--direct_running_mode=in_memory"])
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.io.ReadFromTFRecord(pattern) | transform


def _timed(run: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
