"""Accuracy recovery without training, in words: where ranges come from, and which layers stay float."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat

from components.core.values import FrozenModel


class MinMax(FrozenModel):
    """The least and the greatest value of each activation, as TensorFlow's own converter takes them."""

    kind: Literal["min_max"] = "min_max"


class Percentile(FrozenModel):
    """From the (100 - `percentile`)th to the `percentile`th percentile of each activation's values."""

    kind: Literal["percentile"] = "percentile"
    percentile: Annotated[FiniteFloat, Field(gt=50, le=100)] = 99.9


class MeanSquaredError(FrozenModel):
    """The range whose expected squared error, of clipping and rounding together, is least (arXiv:2106.08295, 3.1)."""

    kind: Literal["mse"] = "mse"


class Entropy(FrozenModel):
    """The range that loses the least information by its Kullback-Leibler divergence (Migacz 2017).

    It compares the values with 8-bit steps: of 16-bit ones there are more than any histogram has bins.
    """

    kind: Literal["entropy"] = "entropy"


class AutoKeepFloat(FrozenModel):
    """As few layers float, in the order of their sensitivity, as hold the first metric on the calibration sample.

    Attributes:
        max_drop: How much worse than the float model's the metric may be (lower; higher where less is better). None
            takes the gate's first bound of it that is relative to the baseline and holds overall.
    """

    kind: Literal["auto"] = "auto"
    max_drop: Annotated[FiniteFloat, Field(ge=0)] | None = None


class KeepLayersFloat(FrozenModel):
    """The layers of these names stay float.

    Attributes:
        names: Shell patterns (`*`, `?`, `[...]`) of layers as the report calls them, such as `*/dense_1`.
    """

    kind: Literal["layers"] = "layers"
    names: Annotated[tuple[str, ...], Field(min_length=1)]


def _from_kind(value: Any) -> Any:
    """`percentile` is short for `{kind: percentile}`."""
    return {"kind": value} if isinstance(value, str) else value


def _from_names(value: Any) -> Any:
    """`auto` is short for `{kind: auto}`, and a list for `{kind: layers, names: ...}`."""
    return {"kind": "layers", "names": value} if isinstance(value, list | tuple) else _from_kind(value)


_AnyRanges8 = Annotated[MinMax | Percentile | MeanSquaredError | Entropy, Field(discriminator="kind")]
_AnyRanges16 = Annotated[MinMax | Percentile | MeanSquaredError, Field(discriminator="kind")]
_AnyKeepFloat = Annotated[AutoKeepFloat | KeepLayersFloat, Field(discriminator="kind")]
_Kind16 = Literal["min_max", "percentile", "mse"]
_Kind8 = Literal["min_max", "percentile", "mse", "entropy"]

Ranges16 = Annotated[_AnyRanges16, BeforeValidator(_from_kind, json_schema_input_type=_Kind16 | _AnyRanges16)]
Ranges8 = Annotated[_AnyRanges8, BeforeValidator(_from_kind, json_schema_input_type=_Kind8 | _AnyRanges8)]
Ranges = MinMax | Percentile | MeanSquaredError | Entropy
KeepFloat = Annotated[
    _AnyKeepFloat, BeforeValidator(_from_names, json_schema_input_type=Literal["auto"] | list[str] | _AnyKeepFloat)
]
