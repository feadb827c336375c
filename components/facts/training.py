"""Results of a training step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from components.core.values import FrozenModel
from components.facts.artifact_paths import TRAINING_FILE
from components.spec.steps.sparsity import SparsityTarget

# How a trained model is exported, which determines how it is converted: as one graph; with recurrent layers lowered to
# plain operators, with their ranges in the graph; or with LSTMs that the converter fuses, with their trained ranges.
Export = Literal["plain", "lowered", "fused_lstm"]


class LayerPlan(FrozenModel):
    """The treatment of one layer of the user's model: in a training step, any layer; otherwise, a recurrent layer.

    Attributes:
        layer: Name of the layer; `outer/inner` in nested models.
        kind: Its class.
        mode: In quantization-aware training: `trained` under quantization; `observed` if ranges are observed in
            training and applied afterward; `float`; or `refused`. In other steps: `pruned`, `clustered`, or `as it
            is`. For a recurrent layer without training: `fused` into one operator, `lowered` to one time step,
            `unrolled` over the sequence, or a `loop`.
        weights: How its weights are quantized; empty if none are.
        outputs: How its outputs are quantized; empty if none are.
        note: How earlier steps changed the layer, or why it is refused and how to fix that.
    """

    layer: str
    kind: str
    mode: Literal[
        "trained",
        "observed",
        "float",
        "refused",
        "pruned",
        "clustered",
        "as it is",
        "fused",
        "lowered",
        "unrolled",
        "loop",
    ]
    weights: str = ""
    outputs: str = ""
    note: str = ""


class TrainedRange(FrozenModel):
    """The range of one activation after training, as integer kernels represent it: `(q - zero_point) * scale`.

    Attributes:
        tensor: The layer with this output, or `input NAME` for a float input.
        low, high: Smallest and largest value that the range represents.
        scale, zero_point: Quantization parameters that the file must have.
        seen: Smallest and largest value in the histogram; None without a histogram.
        histogram: Counts in 64 equal bins over `seen`.
    """

    tensor: str
    low: float
    high: float
    scale: float
    zero_point: int
    seen: tuple[float, float] | None = None
    histogram: tuple[int, ...] = ()


class EpochFact(FrozenModel):
    """One epoch of fine-tuning.

    Attributes:
        epoch: Number of the epoch, from 1.
        learning_rate: Rate at its last batch.
        seconds: Wall time.
        figures: Loss and metrics. Names of those on held-out examples begin with `val_`.
    """

    epoch: int
    learning_rate: float
    seconds: float
    figures: dict[str, float]


class WeightFact(FrozenModel):
    """One weight tensor after a step.

    Attributes:
        layer: Name of its layer; `outer/inner` in nested models.
        weight: Name in the layer: `kernel` or `recurrent_kernel`.
        shape: Shape in Keras.
        sparsity: Fraction of zeros.
        unique_values: Number of distinct values, including zero.
        wanted_sparsity: Sparsity that the step requested; None if it requested none.
        wanted_values: Largest number of values that the step requested; None if it requested none.
    """

    layer: str
    weight: str
    shape: tuple[int, ...]
    sparsity: float
    unique_values: int
    wanted_sparsity: float | None = None
    wanted_values: int | None = None


class PruningSensitivity(FrozenModel):
    """The effect of pruning only this layer on the model's output.

    Attributes:
        layer: Name of the layer.
        levels: Sparsities that were tried.
        errors: For each sparsity, the mean squared difference of the output divided by its variance.
        chosen: The sparsity that was chosen for the layer.
    """

    layer: str
    levels: tuple[float, ...]
    errors: tuple[float, ...]
    chosen: float


class TrainingReport(FrozenModel):
    """Results of a training step.

    Attributes:
        recipe: In the artifact, the id of the node. Readers that know the run replace it with the names of the recipes.
        kind: Kind of the step.
        epochs: One entry for each epoch; fewer than requested if training stopped early.
        best_epoch: The epoch whose weights were kept.
        layers: Treatment of each layer.
        ranges: Trained ranges of activations.
        weights: Weight tensors with zeros or shared values that the step or an earlier one made.
        sensitivity: Sensitivity of each pruned layer, if the step spread the sparsity by it.
        sparsity_target: The zeros that conversion verifies; None for a model that no step pruned.
        export: How the model is exported, which determines how it is converted.
    """

    recipe: str
    kind: str
    epochs: tuple[EpochFact, ...]
    best_epoch: int
    layers: tuple[LayerPlan, ...] = ()
    ranges: tuple[TrainedRange, ...] = ()
    weights: tuple[WeightFact, ...] = ()
    sensitivity: tuple[PruningSensitivity, ...] = ()
    sparsity_target: SparsityTarget | None = None
    export: Export = "plain"


def training_of(folder: Path) -> TrainingReport | None:
    """The report of a training step, from its artifact's folder; None for a model that no step trained."""
    path = folder / TRAINING_FILE
    return TrainingReport.model_validate_json(path.read_bytes()) if path.is_file() else None


def named_by_recipes(
    reports: Iterable[TrainingReport], recipes: Mapping[str, Sequence[str]]
) -> tuple[TrainingReport, ...]:
    """The reports with node ids replaced by the names of the recipes that share the node.

    Args:
        reports: Reports with node ids.
        recipes: Node id -> names. A node that is not in it keeps its id.
    """
    return tuple(
        report.model_copy(update={"recipe": ", ".join(recipes.get(report.recipe, (report.recipe,)))})
        for report in reports
    )
