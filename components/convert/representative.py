"""The calibration sample for a conversion: one example at a time, or all in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, EdgemillError, SpecError

_LOG = logging.getLogger(__name__)

# One example per item: model input name -> array [1, ...]. The only input of a model may have the name "".
Representative = Callable[[], Iterator[Mapping[str, npt.NDArray[Any]]]]


@dataclass(frozen=True)
class Sample:
    """The calibration sample in memory.

    Attributes:
        inputs: Model input name -> array [N, ...].
        labels: Array [N, ...]; None if no metric is computed.
        weights: Weights of the examples [N]; None if all have the same weight.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    labels: npt.NDArray[Any] | None = None
    weights: npt.NDArray[Any] | None = None

    def first(self, count: int) -> Sample:
        """The inputs of the first `count` examples: a random choice, because the sampler orders examples by a hash."""
        return Sample({name: values[:count] for name, values in self.inputs.items()})


def no_sample(scheme: str) -> SpecError:
    """The error for a scheme that needs a calibration sample, if there is none."""
    return SpecError(
        f"the scheme {scheme} measures ranges of activations, but there is no calibration sample",
        where="calibrate",
        remedy="declare `calibrate` in the pipeline file, or use a scheme without calibration",
    )


def load_sample(
    examples: Iterator[tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]],
    names: Sequence[str],
    target: str | None,
) -> Sample:
    """Load the complete sample.

    Args:
        examples: Inputs and targets of one example per item, arrays [1, ...].
        names: The names of the model's inputs.
        target: The target to load as labels, or the only target if it has a different name; None for no labels.

    Raises:
        DataError: See `by_input_name`; or there is no such target.
    """
    labels = []

    def inputs() -> Iterator[Mapping[str, npt.NDArray[Any]]]:
        for decoded, targets in examples:
            if target is not None:
                if target not in targets and len(targets) != 1:
                    raise DataError(
                        "the task declares no target for the output that the first metric reads",
                        where="evaluate.metrics[0].output",
                        bound=", ".join(sorted(targets)) or "a target",
                        measured=target or "no output",
                        remedy="choose one of these outputs, or return a target for it in targets(features)",
                    )
                labels.append(targets[target] if target in targets else next(iter(targets.values())))
            yield decoded

    rows = list(by_input_name(inputs(), names))
    return Sample(
        {name: np.concatenate([row[name] for row in rows]) for name in names},
        np.concatenate(labels) if labels else None,
    )


def by_input_name(
    samples: Iterator[Mapping[str, npt.NDArray[Any]]], names: Sequence[str]
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield the samples under the model's input names.

    Raises:
        DataError: There are no samples, a sample lacks an input, or the samples cannot be decoded.
    """
    count = 0
    for sample in _decoded(samples):
        named = {names[0]: sample[""]} if len(names) == 1 and set(sample) == {""} else sample
        missing = [name for name in names if name not in named]
        if missing:
            raise DataError(
                f"the calibration examples lack the model's input {', '.join(missing)}",
                where="calibrate",
                bound=f"inputs {', '.join(names)}",
                measured=f"{', '.join(sorted(sample)) or 'nothing'} from the task's decode()",
                remedy="make the task's decode() return a dict whose keys are the names of the model's inputs",
            )
        yield {name: np.asarray(named[name]) for name in names}
        count += 1
    if count == 0:
        raise DataError(
            "the calibration sample is empty",
            where="calibrate",
            bound="at least 1 example",
            measured=0,
            remedy="raise `calibrate.samples`, or specify a split that has examples",
        )
    _LOG.info("calibrated on %d examples", count)


def _decoded(samples: Iterator[Mapping[str, npt.NDArray[Any]]]) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The samples. An exception while reading them becomes a DataError, so that the converter is not blamed."""
    try:
        yield from samples
    except EdgemillError:
        raise
    except Exception as error:
        raise DataError(
            f"the calibration examples cannot be decoded: {str(error).strip().splitlines()[-1].strip()}",
            where="calibrate",
            measured=type(error).__name__,
            remedy="fix the task's decode(), or the examples",
        ) from error
