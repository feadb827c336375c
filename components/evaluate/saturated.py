"""Aggregates the saturation counts of an evaluation's workers into a share for each candidate."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam

from components.core.files import write_atomically
from components.evaluate.saturation import Counts, greatest_share, merged

_FILE = "saturated.json"


@beam.ptransform_fn
def WriteSaturated(counts: Any, folder: Path) -> Any:
    """Merge all batches' `Counts` by model name, and write each model's share."""
    return counts | beam.CombineGlobally(_all_merged) | beam.Map(functools.partial(_write, path=str(folder / _FILE)))


def take_saturated(folder: Path) -> dict[str, float | None]:
    """Read each model's greatest share, and remove the file that `WriteSaturated` wrote."""
    path = folder / _FILE
    shares: dict[str, float | None] = json.loads(path.read_bytes())
    path.unlink()
    return shares


def _all_merged(batches: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    total: dict[str, Counts] = {}
    for batch in batches:
        for name, counts in batch.items():
            total[name] = merged((total.get(name, {}), counts))
    return total


def _write(counts: Mapping[str, Counts], path: str) -> None:
    shares = {name: greatest_share(each) for name, each in counts.items()}
    write_atomically(Path(path), json.dumps(shares).encode())
