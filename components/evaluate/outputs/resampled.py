"""Facts that the gate's tests need besides metrics: flips of answers, and metrics without each part of the examples.

TensorFlow Model Analysis has no place for them, so they are in their own file until the report is written.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from tensorflow_model_analysis.slicer import slicer_lib

from components.core.files import write_atomically
from components.facts.evaluation import Flips
from components.facts.sample import Sample

# Key of the evaluator's result.
RESAMPLED_KEY = "resampled"
_FILE = "resampled.json"


class Resampled(NamedTuple):
    """The counts and recomputed metrics on one slice.

    Attributes:
        sizes: The number of examples in each part.
        groups: Approximate number of groups that the examples belong to; None without groups.
        flips: (candidate, metric, lost, gained), as in `components.facts.evaluation.Flips`.
        without: (model, metric, the metric's value without each part).
        samples: (model, metric, its sample).
    """

    sizes: list[int]
    groups: int | None
    flips: list[tuple[str, str, int, int]]
    without: list[tuple[str, str, list[float]]]
    samples: list[tuple[str, str, Sample]]


@beam.ptransform_fn
def WriteResampled(slices: Any, folder: Path) -> Any:
    """Write (slice key, `Resampled`) of all slices to one file."""
    return slices | beam.combiners.ToList() | beam.Map(functools.partial(_write, path=str(folder / _FILE)))


def take_resampled(folder: Path) -> dict[bytes, Resampled]:
    """Read all slices by TFMA's serialized slice key, and remove the file that `WriteResampled` wrote."""
    path = folder / _FILE
    held = json.loads(path.read_bytes())
    path.unlink()
    return {
        bytes.fromhex(key): Resampled(
            sizes, groups, flips, without, [(model, name, Sample.model_validate(one)) for model, name, one in samples]
        )
        for key, (sizes, groups, flips, without), samples in held
    }


def of_model(resampled: Resampled, model: str) -> Mapping[str, Any]:
    """Return the fields of `components.facts.evaluation.SliceResult` that belong to one model."""
    return {
        "parts": tuple(resampled.sizes),
        "groups": resampled.groups,
        "flips": {name: Flips(lost=lost, gained=gained) for of, name, lost, gained in resampled.flips if of == model},
        "without": {name: tuple(values) for of, name, values in resampled.without if of == model},
        "samples": {name: one for of, name, one in resampled.samples if of == model},
    }


def _write(slices: list[tuple[Any, Resampled]], path: str) -> None:
    held = [
        (
            slicer_lib.serialize_slice_key(key).SerializeToString(deterministic=True).hex(),
            resampled[:-1],
            [(model, name, one.model_dump(mode="json")) for model, name, one in resampled.samples],
        )
        for key, resampled in slices
    ]
    write_atomically(Path(path), json.dumps(held).encode())
