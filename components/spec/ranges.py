"""Options for accuracy recovery without training: how ranges are estimated, and which layers stay in float."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat

from components.core.values import FrozenModel


class MinMax(FrozenModel):
    """From the smallest to the largest value of each activation, as in TensorFlow's own converter."""

    kind: Literal["min_max"] = "min_max"


class Percentile(FrozenModel):
    """From the (100 - `percentile`)th to the `percentile`th percentile of each activation's values.

    Attributes:
        percentile: Upper end of the range, in percent.
    """

    kind: Literal["percentile"] = "percentile"
    percentile: Annotated[FiniteFloat, Field(gt=50, le=100)] = 99.9


class MeanSquaredError(FrozenModel):
    """The range with the smallest expected squared error of clipping and rounding together (arXiv:2106.08295, 3.1)."""

    kind: Literal["mse"] = "mse"


class Entropy(FrozenModel):
    """The range that loses the least information by the Kullback-Leibler divergence (Migacz 2017).

    For 8-bit activations only: 16-bit activations have more steps than a histogram has bins.
    """

    kind: Literal["entropy"] = "entropy"


class AutoKeepFloat(FrozenModel):
    """Keeps as few layers in float as possible, the most sensitive first, so that the first metric is within
    `max_drop`.

    The metric is computed on the calibration sample.

    Attributes:
        max_drop: How much worse than the float model's the metric can be: lower, or higher for metrics for which less
            is better. By default, the gate's first overall bound on this metric relative to the baseline.
    """

    kind: Literal["auto"] = "auto"
    max_drop: Annotated[FiniteFloat, Field(ge=0)] | None = None


class KeepLayersFloat(FrozenModel):
    """Keeps the named layers in float.

    Attributes:
        names: Shell patterns (`*`, `?`, `[...]`) of layer names as the report shows them, such as `*/dense_1`.
    """

    kind: Literal["layers"] = "layers"
    names: Annotated[tuple[str, ...], Field(min_length=1)]


def from_kind(value: Any) -> Any:
    """A kind without options, such as `percentile`, is short for `{kind: percentile}`."""
    return {"kind": value} if isinstance(value, str) else value


def _from_names(value: Any) -> Any:
    """`auto` is short for `{kind: auto}`, and a list for `{kind: layers, names: ...}`."""
    return {"kind": "layers", "names": value} if isinstance(value, list | tuple) else from_kind(value)


_AnyRanges8 = Annotated[MinMax | Percentile | MeanSquaredError | Entropy, Field(discriminator="kind")]
_AnyRanges16 = Annotated[MinMax | Percentile | MeanSquaredError, Field(discriminator="kind")]
_AnyKeepFloat = Annotated[AutoKeepFloat | KeepLayersFloat, Field(discriminator="kind")]
_Kind16 = Literal["min_max", "percentile", "mse"]
_Kind8 = Literal["min_max", "percentile", "mse", "entropy"]

Ranges16 = Annotated[_AnyRanges16, BeforeValidator(from_kind, json_schema_input_type=_Kind16 | _AnyRanges16)]
Ranges8 = Annotated[_AnyRanges8, BeforeValidator(from_kind, json_schema_input_type=_Kind8 | _AnyRanges8)]
Ranges = MinMax | Percentile | MeanSquaredError | Entropy
KeepFloat = Annotated[
    _AnyKeepFloat, BeforeValidator(_from_names, json_schema_input_type=Literal["auto"] | list[str] | _AnyKeepFloat)
]
