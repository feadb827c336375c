"""What a training step did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from components.core.values import FrozenModel
from components.facts.artifact_paths import TRAINING_FILE
from components.spec.steps.sparsity import SparsityTarget

# How a trained model is written, and so how it is converted: as one graph; with recurrent layers lowered to plain
# operators, their ranges in the graph; or with LSTMs that the converter fuses and gives the trained ranges.
Export = Literal["plain", "lowered", "fused_lstm"]


class LayerPlan(FrozenModel):
    """What becomes of one layer of the user's model: in a step that trains, or of a recurrent one anyway.

    Attributes:
        layer: Its name; inside nested models `outer/inner`.
        kind: Its class.
        mode: Of quantization-aware training: `trained` under quantization; `observed`: ranges are seen in training and
            applied afterwards; `float`; or `refused`. Of the other steps: `pruned`, `clustered`, or `as it is`. Of a
            recurrent layer without training: `fused` into one operator, `lowered` to one time step, `unrolled` over
            the sequence, or a `loop`.
        weights: How its weights are quantized; empty if it has none that are.
        outputs: How its outputs are.
        note: What was done to it before, or why it is refused and what to do.
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
    """The range of one activation after training, as integer kernels hold it: `(q - zero_point) * scale`.

    Attributes:
        tensor: The layer at whose end it is, or `input NAME` where floats enter.
        low, high: Least and greatest value that is represented.
        scale, zero_point: As the file must have them.
        seen: Least and greatest value of the histogram, where one was kept; None otherwise.
        histogram: Its counts in 64 equal bins over `seen`.
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
        epoch: From 1.
        learning_rate: At its last step.
        seconds: Wall time.
        figures: Loss and metrics; those on held-out examples begin with `val_`.
    """

    epoch: int
    learning_rate: float
    seconds: float
    figures: dict[str, float]


class WeightFact(FrozenModel):
    """What a step left of one kernel.

    Attributes:
        layer: Its layer's name; inside nested models `outer/inner`.
        weight: Which of the layer's: `kernel`, `recurrent_kernel`.
        shape: As Keras has it.
        sparsity: Fraction of zeros.
        unique_values: Number of different values, zero included.
        wanted_sparsity: What the step asked for; None if it did not.
        wanted_values: Likewise, at most so many values.
    """

    layer: str
    weight: str
    shape: tuple[int, ...]
    sparsity: float
    unique_values: int
    wanted_sparsity: float | None = None
    wanted_values: int | None = None


class PruningSensitivity(FrozenModel):
    """How much the zeros of one layer alone change the model's output.

    Attributes:
        layer: Its name.
        levels: Sparsities that were tried.
        errors: At each, the mean squared difference of the output over its variance.
        chosen: The sparsity that the layer was given.
    """

    layer: str
    levels: tuple[float, ...]
    errors: tuple[float, ...]
    chosen: float


class TrainingReport(FrozenModel):
    """What a training step did.

    Attributes:
        recipe: Id of the node in its artifact; readers that know the run put the names of its recipes there.
        kind: The step's.
        epochs: One fact each; less than asked for if it stopped early.
        best_epoch: The epoch whose weights were kept.
        layers: What became of each layer.
        ranges: Trained ranges of activations.
        weights: What zeros and shared values the kernels have after it, as far as a step of the recipe made any.
        sensitivity: Of each pruned layer, where the sparsity was spread by it.
        sparsity_target: The zeros that conversion verifies; None for a model that no step pruned.
        export: How the model is written; conversion follows it.
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
    """The report of a training step from its artifact's folder; None for a model that no step trained."""
    path = folder / TRAINING_FILE
    return TrainingReport.model_validate_json(path.read_bytes()) if path.is_file() else None


def named_by_recipes(
    reports: Iterable[TrainingReport], recipes: Mapping[str, Sequence[str]]
) -> tuple[TrainingReport, ...]:
    """The reports under the names of the recipes that share each node.

    Args:
        reports: With the id of the node.
        recipes: Node id -> names; a node that it lacks keeps its id.
    """
    return tuple(
        report.model_copy(update={"recipe": ", ".join(recipes.get(report.recipe, (report.recipe,)))})
        for report in reports
    )
