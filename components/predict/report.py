"""Facts about the stored outputs of one model for the examples of a split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.core.values import FrozenModel


class StoredOutput(FrozenModel):
    """One stored output.

    Attributes:
        dtype: NumPy's type.
        shape: Shape of one example's values; of the first example if shapes differ.
    """

    dtype: str
    shape: tuple[int, ...]


class Rejection(FrozenModel):
    """Why a file cannot run on these examples."""

    message: str
    remedy: str


class PredictionReport(FrozenModel):
    """The predictions of one model on one split.

    Attributes:
        sha256: Digest of the TFLite file that ran; None for a SavedModel, or if conversion produced no file.
        task: Reference of the task that decoded the examples and post-processed the outputs.
        task_version: Version of the task's code and of the files that it reads.
        split: The split.
        examples: Number of examples.
        batch_size: Examples in a prediction batch.
        output_names: Names of the model's outputs, before `postprocess`.
        outputs: Stored output -> its form.
        max_bytes: The maximum number of bytes that could be stored.
        stored_bytes: Size of the stored outputs.
        rejected: Why the file cannot run; None if it ran, or if there is no file.
        saturated: Output -> share of saturated values, without outputs that can't saturate.
        ranges: Output -> axis -> smallest and largest value of each channel along it, of the float model.
    """

    sha256: str | None = None
    task: str
    task_version: str = ""
    split: str
    examples: int = 0
    batch_size: int
    output_names: tuple[str, ...] = ()
    outputs: dict[str, StoredOutput] = {}
    max_bytes: int
    stored_bytes: int = 0
    rejected: Rejection | None = None
    saturated: dict[str, float] = {}
    ranges: dict[str, dict[int, tuple[tuple[float, ...], tuple[float, ...]]]] = {}

    @property
    def axis_ranges(self) -> dict[str, dict[int, npt.NDArray[np.float64]]]:
        """`ranges` as arrays [2, channels]."""
        return {output: {axis: np.array(ends) for axis, ends in axes.items()} for output, axes in self.ranges.items()}
