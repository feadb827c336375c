"""The gate's policy for candidates."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator
from pydantic_core import PydanticKnownError

from components.core.values import Count, FrozenModel

Preference = Literal["smallest", "smallest_compressed", "fastest", "most_accurate"]
# Bound on a drop -> the bound on a rise from the same model, for metrics for which less is better.
RISES = {f"max_drop_from_{model}": f"max_rise_from_{model}" for model in ("baseline", "champion")}
ChampionMode = Literal["none", "report", "require"]


class PreferenceSpec(FrozenModel):
    """Which of the passing candidates is blessed.

    Attributes:
        by: The criterion that makes one candidate better than another.
        within: How much worse the blessed candidate can be than the most accurate one that passes, in the unit of the
            first metric of `gate.metrics`, such as 0.005. `decide_on` also applies to it. By default, no limit.
    """

    by: Preference
    within: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _trades(self) -> PreferenceSpec:
        if self.by == "most_accurate" and self.within is not None:
            raise ValueError(
                f"within ({self.within:g}) has no effect with `by: most_accurate`: remove it, or prefer something else"
            )
        return self


def _from_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = get_args(Preference)
    if value not in names:
        listed = ", ".join(map(repr, names[:-1]))
        raise PydanticKnownError("literal_error", {"expected": f"{listed} or {names[-1]!r}"})
    return {"by": value}


class MetricBound(FrozenModel):
    """Bounds on one metric, overall or on slices.

    Attributes:
        name: A metric of the evaluation.
        slices: Where the bounds apply. By default, this is the complete split, which is also called `overall`.
            Otherwise, it is every value of each named feature (`label`), or one value (`label=6`). Join several with
            commas to cross them (`age, sex`; `age=30, sex=f`).
        at_least, at_most: Absolute bound, in the metric's unit.
        max_drop_from_baseline: How far a metric for which more is better can fall below the float baseline's.
        max_rise_from_baseline: How far a metric for which less is better can rise above the float baseline's.
        max_drop_from_champion: How far a metric for which more is better can fall below the champion's.
        max_rise_from_champion: How far a metric for which less is better can rise above the champion's.
    """

    name: str
    slices: tuple[str, ...] = ()
    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None
    max_drop_from_baseline: Annotated[FiniteFloat, Field(ge=0)] | None = None
    max_rise_from_baseline: Annotated[FiniteFloat, Field(ge=0)] | None = None
    max_drop_from_champion: Annotated[FiniteFloat, Field(ge=0)] | None = None
    max_rise_from_champion: Annotated[FiniteFloat, Field(ge=0)] | None = None

    @property
    def holds_without_champion(self) -> bool:
        """Whether it bounds candidates for a device without a champion."""
        bounds = (self.at_least, self.at_most, self.max_drop_from_baseline, self.max_rise_from_baseline)
        return any(bound is not None for bound in bounds)

    @property
    def names_champion(self) -> bool:
        """Whether it declares how much worse than the champion a candidate can be."""
        return self.max_drop_from_champion is not None or self.max_rise_from_champion is not None

    @model_validator(mode="after")
    def _bounds_something(self) -> MetricBound:
        if not self.holds_without_champion and not self.names_champion:
            raise ValueError("has no bound: set at_least, at_most, max_drop_from_baseline, or max_rise_from_baseline")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least}) is above at_most ({self.at_most}): nothing can pass")
        return self


class GateSpec(FrozenModel):
    """The policy that the gate of every device applies, in addition to the device's own budgets.

    Attributes:
        metrics: Bounds on metrics.
        prefer: Which passing candidate is blessed. Ties are decided in favor of the more accurate, then the smaller,
            then the first candidate. Accuracy is the first metric of `metrics`. `smallest_compressed` compares bytes
            under gzip, as the registry serves them. `fastest` chooses the smallest candidate if none was timed. On a
            device with Vela, it chooses the candidate with the fewest operators on the CPU, then the fewest cycles; on
            a connected phone, the one with the shortest time there. Write only the name, or `{by: smallest, within:
            0.005}` to give up at most this much accuracy.
        decide_on: `estimate` compares the measured value, which can meet a bound by chance. `interval` compares the 95
            % confidence interval: a bound inside the interval means not enough data. `test` blesses a candidate only if
            a statistical test shows every bound of `metrics`. See docs/gate.md.
        alpha: With `decide_on: test`, the highest probability of blessing a candidate that breaks a bound: above 0 and
            below 0.5, 0.05 by default.
        champion: What happens to candidates that are worse than the champion, the device's last release. `report`, the
            default, compares all candidates with it. `require` also refuses those that are worse, and `none` compares
            nothing. The comparison uses the bounds with `max_drop_from_champion` or `max_rise_from_champion`. If there
            are none, it uses every metric of `metrics`, on its slices, which must not be worse at all.
        min_examples: If a slice has fewer examples, there is not enough data.
        max_state_error: How far the states of a lowered recurrent model can be from the float model's after any time
            step: root mean square of the error divided by the state's. By default, no bound.
        max_saturated_outputs: Largest share of a candidate's output values, over all examples of the evaluation, at an
            end of the quantized range. Values that the last operators combine into an output also count. By default, no
            bound.
    """

    metrics: Annotated[tuple[MetricBound, ...], Field(min_length=1)]
    prefer: Annotated[
        PreferenceSpec, BeforeValidator(_from_name, json_schema_input_type=Preference | PreferenceSpec)
    ] = PreferenceSpec(by="smallest")
    decide_on: Literal["estimate", "interval", "test"] = "estimate"
    alpha: Annotated[FiniteFloat, Field(gt=0, lt=0.5)] | None = None
    champion: ChampionMode = "report"
    min_examples: Count = 30
    max_state_error: Annotated[FiniteFloat, Field(gt=0)] | None = None
    max_saturated_outputs: Annotated[FiniteFloat, Field(ge=0, lt=1)] | None = None

    @property
    def error_rate(self) -> float:
        """`alpha`, or its default."""
        return 0.05 if self.alpha is None else self.alpha

    @model_validator(mode="after")
    def _no_contradictions(self) -> GateSpec:
        if self.alpha is not None and self.decide_on != "test":
            raise ValueError(
                f"alpha ({self.alpha:g}) has no effect with `decide_on: {self.decide_on}`: "
                "write `decide_on: test`, or remove alpha"
            )
        if (contradiction := self._of_champion()) is not None:
            raise ValueError(contradiction)
        for number, one in enumerate(self.metrics):
            for other in self.metrics[number + 1 :]:
                if one.name == other.name and (where := _shared_slice(one, other)) is not None:
                    _check_range(one, other, where)
        return self

    def _of_champion(self) -> str | None:
        margins = [bound for bound in self.metrics if bound.names_champion]
        if margins and self.champion == "none":
            return (
                f"the bound on {margins[0].name!r} from the champion has no effect with `champion: none`: "
                "write `champion: report` or `champion: require`, or remove it"
            )
        if not any(bound.holds_without_champion for bound in self.metrics):
            return (
                "nothing bounds a device's first release, which has no champion: add at_least, at_most, "
                "max_drop_from_baseline, or max_rise_from_baseline to one of the metrics"
            )
        if self.champion == "require" and self.decide_on != "estimate" and not margins:
            return (
                f"`champion: require` with `decide_on: {self.decide_on}` requires each candidate to be better than "
                "the champion: add the loss that you can accept to one of the metrics, such as "
                "max_drop_from_champion: 0.01"
            )
        return None


def values_of_slice(named: str) -> dict[str, str]:
    """Return each feature of one of `MetricBound.slices` with its value; empty if it stands for each of its values."""
    return dict(part.strip().partition("=")[::2] for part in named.split(",") if part.strip())


def _shared_slice(one: MetricBound, other: MetricBound) -> str | None:
    """A slice that both bounds apply to: empty for the complete split, None if there is none."""
    if not one.slices or not other.slices:
        return None if one.slices or other.slices else ""
    for here, there in itertools.product(one.slices, other.slices):
        mine, theirs = values_of_slice(here), values_of_slice(there)
        if mine.keys() == theirs.keys() and all(
            "" in (mine[key], theirs[key]) or mine[key] == theirs[key] for key in mine
        ):
            return there if "=" in there else here
    return None


def _check_range(one: MetricBound, other: MetricBound, where: str) -> None:
    for low, high in ((one.at_least, other.at_most), (other.at_least, one.at_most)):
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"two bounds on {one.name!r}{f' on {where}' if where else ''} contradict each other: at_least "
                f"({low:g}) is above at_most ({high:g}), so nothing can pass"
            )
