"""Decodes the calibration sample with the task."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.examples import ExampleDecoder, Inputs, read_serialized, split_files
from components.facts.artifact_paths import CALIBRATION_SPLIT

_DECODE_BATCH = 256


def decode_examples(
    calibration: str, task: str, transform_graph: str | None, label: str | None = None
) -> Iterator[tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]]:
    """Yield the model inputs and targets of the calibration sample, one example [1, ...] at a time, in file order.

    Args:
        calibration, task, transform_graph: See `components.convert.job.ConversionRequest`.
        label: The feature that is the target if the task declares none; None to yield no targets.
    """
    decoder = ExampleDecoder(task, transform_graph)
    serialized = read_serialized(split_files(calibration, CALIBRATION_SPLIT))
    while batch := list(islice(serialized, _DECODE_BATCH)):
        if label is None:
            parts: tuple[Inputs, Inputs] = decoder.decode(batch)[0], {}
        else:
            decoded = decoder.decode_all(batch, label)
            parts = decoded.inputs, decoded.targets
        for index in range(len(batch)):
            inputs, targets = ({name: one[index : index + 1] for name, one in part.items()} for part in parts)
            yield inputs, targets


def weights_of_sample(calibration: str, task: str, transform_graph: str | None, label: str) -> npt.NDArray[np.float32]:
    """The weights of the calibration sample's examples [N], in the order of `decode_examples`, for the same arguments.

    Raises:
        SpecError, DataError: The task's `example_weights` fails, or returns something other than weights.
    """
    decoder = ExampleDecoder(task, transform_graph)
    serialized = read_serialized(split_files(calibration, CALIBRATION_SPLIT))
    found = []
    while batch := list(islice(serialized, _DECODE_BATCH)):
        found.append(np.asarray(decoder.decode_all(batch, label).weights, np.float32))
    return np.concatenate(found)
