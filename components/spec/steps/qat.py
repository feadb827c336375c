"""The step `qat`: options for quantization-aware training in a pipeline file. Imports neither TensorFlow nor TFX."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from components.core.values import FrozenModel
from components.spec.ranges import from_kind
from components.spec.steps.fine_tuning import FineTuning
from components.spec.steps.layer_patterns import LayerPattern

OBJECT_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
ObjectReference = Annotated[str, Field(pattern=OBJECT_PATTERN)]


class MovingAverage(FrozenModel):
    """An exponential moving average of each batch's smallest and largest value (Jacob et al. 2018, section 3.1).

    Attributes:
        decay: Weight of the old average at each batch.
    """

    kind: Literal["moving_average"] = "moving_average"
    decay: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.95


class LastValue(FrozenModel):
    """The range of the last training batch."""

    kind: Literal["last_value"] = "last_value"


class Histogram(FrozenModel):
    """The range that includes a share of all values seen, from a running histogram. It clips rare outliers.

    Attributes:
        percentile: Share of values inside the range, in percent; the other values are cut off equally at both ends.
        bins: Number of bins of the histogram over the range of all values seen.
    """

    kind: Literal["histogram"] = "histogram"
    percentile: Annotated[FiniteFloat, Field(gt=50, le=100)] = 99.9
    bins: Annotated[int, Field(ge=64, le=65_536)] = 2048


class CustomQuantizer(FrozenModel):
    """Your own `tfmot.quantization.keras.quantizers.Quantizer` with the methods `build` and `call`.

    Attributes:
        object: The class, or a function that returns a new quantizer, as `package.module:NAME`.
    """

    kind: Literal["own"] = "own"
    object: ObjectReference


def _named(value: Any) -> Any:
    """`histogram` is short for `{kind: histogram}`, and `package.module:NAME` for your own quantizer."""
    return {"kind": "own", "object": value} if isinstance(value, str) and ":" in value else from_kind(value)


_AnyQuantizer = Annotated[MovingAverage | LastValue | Histogram | CustomQuantizer, Field(discriminator="kind")]
RangeQuantizer = Annotated[_AnyQuantizer, BeforeValidator(_named, json_schema_input_type=str | _AnyQuantizer)]


class WeightQuantization(FrozenModel):
    """How weights are quantized in training: symmetrically, as TFLite's integer kernels require.

    Attributes:
        bits: 8 or 4. By default, as in the recipe's scheme.
        granularity: One scale for each channel if the kernel supports it (convolutions), or one for the tensor. By
            default, as in the scheme.
        quantizer: Your own quantizer, `package.module:NAME`. By default, the range of the current weights.
    """

    bits: Literal[4, 8] | None = None
    granularity: Literal["per_channel", "per_tensor"] | None = None
    quantizer: Annotated[
        CustomQuantizer | None, BeforeValidator(_named, json_schema_input_type=str | CustomQuantizer | None)
    ] = None


class ActivationQuantization(FrozenModel):
    """How the outputs of layers are quantized in training, with the bits of the recipe's scheme.

    Attributes:
        symmetric: Make the range symmetric around zero. 16-bit ranges are always symmetric.
        quantizer: How the range is found: `moving_average`, `last_value`, `histogram`, or your own quantizer,
            `package.module:NAME`.
    """

    symmetric: bool = False
    quantizer: RangeQuantizer = MovingAverage()


class LayerQuantization(FrozenModel):
    """Different quantization for some layers. A later entry overrides an earlier one.

    Attributes:
        layers: Layer names or shell patterns.
        weights: Quantization of the weights of these layers; `none` leaves them to the conversion. By default, the
            step's.
        activations: Quantization of the outputs of these layers; `none` leaves them to the conversion. By default, the
            step's.
        config: Instead of both, your own `tfmot.quantization.keras.QuantizeConfig`: the class, or a function that
            returns a new one, as `package.module:NAME`.
    """

    layers: Annotated[tuple[LayerPattern, ...], Field(min_length=1)]
    weights: WeightQuantization | Literal["none"] | None = None
    activations: ActivationQuantization | Literal["none"] | None = None
    config: ObjectReference | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> LayerQuantization:
        if self.config is not None and (self.weights is not None or self.activations is not None):
            raise ValueError("a custom config defines everything: remove weights and activations, or config")
        if self.config is None and self.weights is None and self.activations is None:
            raise ValueError("has no settings for these layers: set weights, activations, or config")
        if self.weights == "none" and self.activations == "none":
            raise ValueError("quantizes nothing: list the layers in the step's `except` instead")
        return self


class QatStep(FineTuning):
    """Quantization-aware training, starting from the weights of the baseline (Jacob et al. 2018, arXiv:1712.05877).

    Attributes:
        layers: Names or shell patterns of the layers to train under quantization. By default, all.
        except_layers: Names or shell patterns of layers to leave out. Layers that are not selected are quantized after
            training, with ranges observed in training; with `float_fallback`, they stay in float.
        weights: How weights are quantized.
        activations: How the outputs of layers are quantized.
        configs: Layers with different quantization.
        scheme: Your own `tfmot.quantization.keras.QuantizeScheme`, with its registry and layout transforms, instead of
            Edgemill's: the class, or a function that returns a new one, as `package.module:NAME`.
        delay_activations: Epochs in which the ranges of outputs are observed but not applied (Jacob et al. 2018,
            section 3.1: quantizing activations from the start can keep the network from a stable state).
        freeze_batch_norm: Epoch from which batch normalization keeps its statistics (Krishnamoorthi 2018,
            arXiv:1806.08342, section 3.2.3); 0 means from the start. By default, never.
    """

    # `except` is a Python keyword.
    model_config = ConfigDict(serialize_by_alias=True)

    shell = "components.quantize.component:QuantizationAwareTrainer"
    preview = "components.fake_quantize.qat:checked_preview"
    depends_on = frozenset({"invariants", "scheme"})

    kind: Literal["qat"]
    layers: tuple[LayerPattern, ...] = ()
    except_layers: tuple[LayerPattern, ...] = Field(default=(), alias="except")
    weights: WeightQuantization = WeightQuantization()
    activations: ActivationQuantization = ActivationQuantization()
    configs: tuple[LayerQuantization, ...] = ()
    scheme: ObjectReference | None = None
    delay_activations: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    freeze_batch_norm: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None

    def references(self) -> tuple[str, ...]:
        """The task's objects that the step names, each as `package.module:NAME`."""
        found = [self.scheme, *(config.config for config in self.configs)]
        parts: list[WeightQuantization | ActivationQuantization] = [self.weights, self.activations]
        for config in self.configs:
            parts += [part for part in (config.weights, config.activations) if part is not None and part != "none"]
        found += [part.quantizer.object for part in parts if isinstance(part.quantizer, CustomQuantizer)]
        return tuple(dict.fromkeys(reference for reference in found if reference))

    @model_validator(mode="after")
    def _delays_less_than_it_trains(self) -> QatStep:
        if self.delay_activations >= self.epochs:
            raise ValueError(
                f"delay_activations ({self.delay_activations}) is not below epochs ({self.epochs}): no epoch would "
                "train under quantized activations"
            )
        given = self.configs or self.weights != WeightQuantization() or self.activations != ActivationQuantization()
        if self.scheme is not None and given:
            raise ValueError("a custom scheme defines everything: remove weights, activations, and configs")
        return self
