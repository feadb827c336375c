"""The step `prune`: the options for pruning in a pipeline file. Imports neither TensorFlow nor TFX."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from components.core.values import Count, FrozenModel
from components.spec.ranges import from_kind
from components.spec.steps.fine_tuning import FineTuning, WeightInvariants
from components.spec.steps.layer_patterns import LayerPattern
from components.spec.steps.sparsity import BLOCKS, Structure

# By default, the share of the epochs after which the polynomial schedule ends. The other epochs recover accuracy.
_RAMP = 2 / 3


def _no_percentage(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < 1:
        meant = f"; did you mean {value / 100:g}?" if 1 < value < 100 else ""
        raise ValueError(f"sparsity is a fraction in [0, 1){meant}")
    return value


_FromZeroToOne = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[
    FiniteFloat, Field(ge=0, lt=1), BeforeValidator(_no_percentage, json_schema_input_type=_FromZeroToOne)
]


class ConstantSchedule(FrozenModel):
    """The full sparsity at once.

    Attributes:
        begin_epoch: Epochs of training before pruning starts.
    """

    kind: Literal["constant"] = "constant"
    begin_epoch: Annotated[FiniteFloat, Field(ge=0)] = 0.0


class PolynomialSchedule(FrozenModel):
    """From `initial` to the full sparsity, fast at first (Zhu and Gupta 2017, arXiv:1710.01878, equation 1).

    Attributes:
        initial: Sparsity at the start, at most each layer's final sparsity.
        begin_epoch: Epochs of training before pruning starts.
        end_epoch: Epoch at whose end the full sparsity is reached; can be fractional. By default, two thirds of
            `epochs`.
        power: Exponent of the polynomial.
    """

    kind: Literal["polynomial"] = "polynomial"
    initial: Fraction = 0.0
    begin_epoch: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    end_epoch: Annotated[FiniteFloat, Field(gt=0)] | None = None
    power: Annotated[FiniteFloat, Field(gt=0)] = 3.0


_AnySchedule = Annotated[ConstantSchedule | PolynomialSchedule, Field(discriminator="kind")]
Schedule = Annotated[
    _AnySchedule, BeforeValidator(from_kind, json_schema_input_type=Literal["constant", "polynomial"] | _AnySchedule)
]


class LayerSparsity(FrozenModel):
    """A different sparsity for some layers. A later entry overrides an earlier one.

    Attributes:
        layers: Layer names or shell patterns.
        sparsity: Fraction of zeros in each of these layers; 0 leaves them unpruned.
    """

    layers: Annotated[tuple[LayerPattern, ...], Field(min_length=1)]
    sparsity: Fraction


class PruneStep(FineTuning):
    """Magnitude pruning while the model trains (Han et al. 2015, arXiv:1506.02626; Zhu and Gupta 2017).

    Attributes:
        sparsity: Fraction of zeros among the pruned weights. Required, except for `2:4`, where it is 0.5.
        structure: Where zeros can be. `unstructured`: anywhere. `2:4`: two of every four weights along the input axis.
            `block_1x4` and `block_1x16`: in blocks along the input axis, for the sparse kernels of float32 and of int8.
        schedule: How the sparsity rises. It must end before training does. By default, `polynomial`, or `constant` for
            `2:4`.
        layers: Names or shell patterns of the layers to prune. By default, all layers with kernels except depthwise
            ones.
        except_layers: Names or shell patterns of layers to leave out.
        targets: Layers with their own sparsity.
        spread: `uniform` gives each layer the same sparsity. `sensitivity` applies `sparsity` to all layers together
            and puts more zeros where they change the model's output less.
        update_every: Batches between two selections of the zeros while the sparsity rises.
    """

    # `except` is a Python keyword.
    model_config = ConfigDict(serialize_by_alias=True)

    shell = "components.prune.component:Pruner"
    preview = "components.prune.pruning:preview"
    depends_on = frozenset()

    kind: Literal["prune"]
    sparsity: Fraction | None = None
    structure: Structure = "unstructured"
    schedule: Schedule | None = None
    layers: tuple[LayerPattern, ...] = ()
    except_layers: tuple[LayerPattern, ...] = Field(default=(), alias="except")
    targets: tuple[LayerSparsity, ...] = ()
    spread: Literal["uniform", "sensitivity"] = "uniform"
    update_every: Count = 16

    def establishes(self) -> WeightInvariants:
        """Zeros, which later steps keep."""
        return WeightInvariants(zeros=True)

    @property
    def wanted(self) -> float:
        """The sparsity of layers that `targets` does not name."""
        return 0.5 if self.sparsity is None else self.sparsity

    @property
    def highest(self) -> float:
        """The highest sparsity of `sparsity` and `targets`."""
        return max([self.wanted, *(target.sparsity for target in self.targets)])

    @property
    def ends(self) -> float:
        """Number of epochs after which the full sparsity is reached."""
        match self.schedule:
            case ConstantSchedule(begin_epoch=begin):
                return begin
            case PolynomialSchedule(end_epoch=end) if end is not None:
                return end
            case None if self.structure == "2:4":
                return 0.0
        return self.epochs * _RAMP

    @model_validator(mode="after")
    def _says_a_sparsity_it_can_have(self) -> PruneStep:
        if self.structure == "2:4":
            if self.sparsity not in {None, 0.5} or self.targets:
                raise ValueError("2:4 is a sparsity of 0.5 in every layer: remove `sparsity` and `targets`")
            if isinstance(self.schedule, PolynomialSchedule):
                raise ValueError("2:4 has a fixed sparsity, which cannot rise: use the schedule `constant`")
            if self.spread == "sensitivity":
                raise ValueError(
                    "2:4 has the same sparsity in every layer, so there is nothing to spread: remove `spread`"
                )
        elif self.sparsity is None:
            raise ValueError("`sparsity` is required: a fraction in [0, 1), as in `sparsity: 0.8`")
        if self.spread == "sensitivity" and self.targets:
            raise ValueError("`spread: sensitivity` chooses the sparsity of each layer: remove `targets` or `spread`")
        return self

    @model_validator(mode="after")
    def _ends_before_training_does(self) -> PruneStep:
        if self.ends >= self.epochs:
            field = "begin_epoch" if isinstance(self.schedule, ConstantSchedule) else "end_epoch"
            raise ValueError(
                f"the schedule must end before training does: {field} {self.ends:g} is not below epochs "
                f"({self.epochs}), so no training would follow to recover the accuracy lost to the last zeros"
            )
        if self.early_stopping is not None and math.ceil(self.ends) >= self.epochs:
            raise ValueError(
                f"early_stopping needs a complete epoch after the schedule's end ({self.ends:g}), and epochs "
                f"({self.epochs}) leaves none: raise epochs, or end the schedule earlier"
            )
        schedule = self.schedule
        if isinstance(schedule, PolynomialSchedule) and schedule.begin_epoch >= self.ends:
            raise ValueError(f"begin_epoch ({schedule.begin_epoch:g}) is not below end_epoch ({self.ends:g})")
        return self


def sparsity_at(step: PruneStep, final: float, epoch: float) -> float:
    """The sparsity of a layer at a point in time.

    Args:
        step: The step of the recipe.
        final: The layer's sparsity at the end.
        epoch: Epochs since the start; can be fractional.
    """
    if epoch >= step.ends:
        return final
    match step.schedule:
        case ConstantSchedule():
            return 0.0
        case PolynomialSchedule() as rising:
            pass
        case None:
            rising = PolynomialSchedule()
    if epoch < rising.begin_epoch:
        return 0.0
    initial = min(rising.initial, final)
    left = 1 - (epoch - rising.begin_epoch) / (step.ends - rising.begin_epoch)
    return final + (initial - final) * math.pow(left, rising.power)


def group_of(structure: Structure) -> int:
    """Number of weights in a group or block along the input axis."""
    return 4 if structure == "2:4" else BLOCKS.get(structure, 1)
