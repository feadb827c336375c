"""Rewrite a Keras model as layers that match TFLite's integer kernels, for quantization-aware training.

Imports TensorFlow. Outside training, the rewritten model computes the same as the original. Nested models are
flattened, activations are separate layers, batch normalization only follows convolutions, and one-dimensional
convolutions become two-dimensional convolutions of height 1. Layers and activations without an integer kernel are
written out as layers and activations that have one, and operations on tensors become layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow as tf

from components.fake_quantize.keras_layers import (
    SIZES,
    UPRIGHT,
    Rewritten,
    WithWeights,
    activation_name,
    affine,
    call_counts,
    folded_weights,
    itself,
    last_axis,
    reader_counts,
    refusal_of,
    upright_config,
    written_out,
)
from components.fake_quantize.layers import FIXED_ACTIVATIONS, NO_ACTIVATION, RANGED_ACTIVATIONS, WEIGHTED
from components.fake_quantize.one_direction import both_ways, one_way
from components.fake_quantize.operators import traced
from components.fake_quantize.operators.layer import NotDescribable
from components.fake_quantize.operators.parts import Parts
from components.fake_quantize.operators.unfold import UNFOLDED, unfold
from components.fake_quantize.operators.written_out import ACTIVATIONS, LAYERS
from components.model.keras_graph import input_like, replay
from components.upstream.autograph import leave_keras_as_it_is
from components.upstream.keras import called_function, is_graph, regularized_like

_layers = tf.keras.layers
_Chosen = Callable[[str], bool]


def rewrite(
    model: Any, kept: _Chosen = lambda _: False, folds: _Chosen = lambda _: False, *, coarse: bool = False
) -> Rewritten:
    """Rewrite a model.

    Args:
        model: A built functional or Sequential Keras model.
        kept: Whether the layer of a name, `outer/inner` if nested, stays unchanged: float, or with its own config.
        folds: Returns whether the batch normalization after the convolution of a name must be folded into its weights
            now. The converter folds it only if each channel has a scale.
        coarse: Whether activations have 8 bits.
    """
    leave_keras_as_it_is()
    inputs = [input_like(tensor) for tensor in model.inputs]
    rewriter = _Rewriter(kept, folds, model, coarse)
    outputs = rewriter.follow(model, inputs, "")
    # Output names are layer names and part of the exported signature, so they must not change.
    result = tf.keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name=model.name)
    return Rewritten(result, rewriter.origins, rewriter.notes, rewriter.refusals)


class _Rewriter:
    def __init__(self, kept: _Chosen, folds: _Chosen, model: Any, coarse: bool) -> None:
        self._kept, self._folds, self._coarse = kept, folds, coarse
        self.call_counts = call_counts(model)
        self._made: dict[tuple[str, str], Any] = {}
        # Name of a user's layer -> the model of its calls; and the layer that is being rewritten, by name.
        self._models: dict[str, Any] = {}
        self._within = ""
        self.origins: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.refusals: dict[str, tuple[str, str]] = {}
        self._of_one_tensor: dict[str, Callable[[Any, str, Any], Any]] = {
            **dict.fromkeys(WEIGHTED, self._weighted),
            "SeparableConv2D": self._separable,
            "BatchNormalization": self._batch_norm,
            "TimeDistributed": self._each_step,
        }
        # Rewritten tensor -> the four-dimensional tensor that it was reshaped from.
        self._upright: dict[int, Any] = {}
        # Rewritten tensor -> the weighted layer that directly produces it, if it has only one reader.
        self._sole: dict[int, Any] = {}

    def follow(self, model: Any, inputs: list[Any], prefix: str) -> list[Any]:
        """Call the model's layers, or their replacements, on new tensors in topological order."""
        readers = reader_counts(model)

        def call(node: Any, args: Any, kwargs: Any) -> Any:
            name = f"{prefix}{node.layer.name}"
            if (refusal := refusal_of(node, model)) is not None:
                self.refusals[self._within or name] = refusal
            outputs = self._call(node.layer, name, args, kwargs)
            for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True):
                if readers.get(id(old), 0) != 1:
                    self._sole.pop(id(new), None)
            return outputs

        return replay(model, inputs, call)

    def _call(self, layer: Any, name: str, args: Any, kwargs: Any) -> Any:
        layer = itself(layer)
        kind = type(layer).__name__
        if is_graph(layer) and not self._kept(name):
            outputs = self.follow(layer, tf.nest.flatten(args), f"{name}/")
            return outputs[0] if len(outputs) == 1 else outputs
        if kind in UNFOLDED:
            return self._unfolded(layer, name, args, kwargs)
        if self._kept(name):
            return self._copy(layer, name, name)(*args, **kwargs)
        if kind in LAYERS and (y := LAYERS[kind][0](self._parts(name), layer, args, kwargs)) is not None:
            self.notes[name] = LAYERS[kind][1]
            return y
        match kind:
            case _ if kind in self._of_one_tensor:
                return self._of_one_tensor[kind](layer, name, args[0])
            case _ if kind in UPRIGHT and layer.data_format == "channels_last":
                return self._lone(layer, name, args[0])
            case "Activation":
                return self._activate(args[0], layer.activation, name, name)
            case _ if written_out(layer):
                return self._recurrent(layer, name, args[0])
            case _ if traced.is_own(layer) and (model := self._model_of(layer, name, args, kwargs)) is not None:
                return self._inside(model, traced.tensors_of(args, kwargs), name, name)
            case _:
                return self._copy(layer, name, name)(*args, **kwargs)

    def _model_of(self, layer: Any, name: str, args: Any, kwargs: Any) -> Any:
        """A user's layer as a model that all its calls share; None if it can't be traced."""
        if name not in self._models:
            model = self._models[name] = traced.traced_layer(layer, args, kwargs)
            if model is not None:
                self.notes[name] = traced.note_on(layer)
                counts = call_counts(model, f"{name}/").items()
                self.call_counts.update({inner: count * self.call_counts[name] for inner, count in counts})
        return self._models[name]

    def _inside(self, model: Any, tensors: list[Any], name: str, origin: str) -> Any:
        """Call the layers that replace a user's layer. All of them have the policy of that layer."""
        before, self._within = self._within, self._within or origin
        outputs = self.follow(model, tensors, f"{name}/")
        self._within = before
        return tf.nest.pack_sequence_as(model.output, outputs)

    def _parts(self, name: str) -> Parts:
        return Parts(self._new, name, self._activate, coarse=self._coarse)

    def _unfolded(self, layer: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Rewrite an operation on tensors as layers, or keep it if a configuration can't contain its arguments."""
        function = called_function(layer)
        if function is not None:
            with suppress(NotDescribable):
                return unfold(self._parts(name), function, args, kwargs)
        return self._copy(layer, name, name)(*args, **kwargs)

    def _each_step(self, layer: Any, name: str, x: Any) -> Any:
        """Apply the layer inside a TimeDistributed to all time steps as one batch."""
        if x.shape[1] is None:
            return self._copy(layer, name, name)(x)
        self.notes[name] = "computes all time steps as one batch"
        parts = self._parts(name)
        y = self._call(layer.layer, name, (parts.function("reshape", "frames", x, [-1, *x.shape[2:]]),), {})
        return parts.function("reshape", "sequence", y, [-1, x.shape[1], *y.shape[1:]])

    def _recurrent(self, layer: Any, name: str, x: Any) -> Any:
        if type(layer).__name__ != "Bidirectional":
            return one_way(self._new, layer, name, x)
        self.notes[name] = "rewritten as one layer per direction"
        return both_ways(self._new, self._parts(name), layer, name, x)

    def _copy(self, layer: Any, name: str, origin: str, **changes: Any) -> Any:
        """Copy a layer with its weights under its full name; all calls of a shared layer share the copy."""
        return self._new(
            type(layer), name, origin, {**layer.get_config(), **changes}, lambda _: layer.get_weights(), layer
        )

    def _new(
        self,
        kind: Any,
        name: str,
        origin: str,
        config: Mapping[str, Any],
        weights: Callable[[Any], list[Any]] | None = None,
        like: Any = None,
    ) -> Any:
        if (name, kind.__name__) not in self._made:
            made = kind.from_config({**config, "name": name})
            made.trainable = like.trainable if like is not None else True
            self._made[name, kind.__name__] = WithWeights(made, weights)
            self.origins[name] = self._within or origin
        return self._made[name, kind.__name__]

    def _weighted(self, layer: Any, name: str, x: Any) -> Any:
        made = self._copy(layer, name, name, activation=NO_ACTIVATION)
        return self._ended(made, name, made(x), layer.activation)

    def _ended(self, made: Any, name: str, y: Any, activation: Any) -> Any:
        """The output of a weighted layer, through its activation."""
        if activation_name(activation) != NO_ACTIVATION:
            return regularized_like(made.layer, self._activate(y, activation, f"{name}/activation", name))
        # The weights of a shared layer can't absorb a layer that follows only one of its calls.
        if self.call_counts[name] == 1:
            self._sole[id(y)] = (made.layer, y)
        return y

    def _separable(self, layer: Any, name: str, x: Any) -> Any:
        config = layer.get_config()
        shared = {key: config[key] for key in ("padding", "data_format", "dtype", "trainable")}
        depthwise = {**shared, **{key: config[key] for key in (*SIZES, "depth_multiplier")}, "use_bias": False}
        pointwise = {**shared, "filters": config["filters"], "kernel_size": (1, 1), "use_bias": config["use_bias"]}
        weights = layer.get_weights()
        x = self._new(_layers.DepthwiseConv2D, f"{name}/depthwise", name, depthwise, lambda _: weights[:1], layer)(x)
        made = self._new(_layers.Conv2D, name, name, {**pointwise, "padding": "valid"}, lambda _: weights[1:], layer)
        self.notes[name] = "rewritten as a depthwise and a pointwise convolution"
        return self._ended(made, name, made(x), layer.activation)

    def _lone(self, layer: Any, name: str, x: Any) -> Any:
        """Rewrite a one-dimensional convolution as a two-dimensional convolution of height 1."""
        config, before = upright_config(layer)
        if before:
            x = self._new(_layers.ZeroPadding1D, f"{name}/padding", name, {"padding": (before, 0)})(x)
        weights = [np.expand_dims(w, 0) if w.ndim == 3 else w for w in layer.get_weights()]
        upright = self._reshape(x, (1, *x.shape[1:]), f"{name}/upright", name)
        self.notes[name] = "rewritten as a two-dimensional convolution of height 1"
        if type(layer).__name__ == "SeparableConv1D":
            two = _layers.SeparableConv2D.from_config({**config, "activation": NO_ACTIVATION})
            two.build(upright.shape)
            two.set_weights(weights)
            y = self._separable(two, name, upright)
        else:
            plain = {**config, "activation": NO_ACTIVATION}
            made = self._new(UPRIGHT[type(layer).__name__], name, name, plain, lambda _: weights, layer)
            y = self._ended(made, name, made(upright), None)
        return self._activate(self._flat(y, f"{name}/flat", name), layer.activation, f"{name}/activation", name)

    def _flat(self, y: Any, name: str, origin: str) -> Any:
        flat = self._reshape(y, tuple(y.shape[2:]), name, origin)
        self._upright[id(flat)] = y
        if id(y) in self._sole:
            self._sole[id(flat)] = (self._sole[id(y)][0], flat)
        return flat

    def _reshape(self, x: Any, shape: tuple[int, ...], name: str, origin: str) -> Any:
        return self._new(_layers.Reshape, name, origin, {"target_shape": shape})(x)

    def _batch_norm(self, layer: Any, name: str, x: Any) -> Any:
        made, _ = self._sole.get(id(x), (None, None))
        behind = type(made).__name__
        convolves = behind in {"Conv2D", "DepthwiseConv2D"} and last_axis(layer, x)
        if convolves and not self._folds(self.origins[made.name]):
            self.notes[name] = "folded into the convolution's weights by the converter"
            if id(x) in self._upright:
                y = self._copy(layer, name, name, axis=-1)(self._upright[id(x)])
                return self._flat(y, f"{name}/flat", name)
            return self._copy(layer, name, name)(x)
        if convolves or (behind in {"Dense", "Conv2DTranspose"} and last_axis(layer, x)):
            self.notes[name] = f"folded into the weights of {made.name} before training, with its statistics"
            y = self._folded(made, layer)
            return self._flat(y, f"{name}/flat", name) if id(x) in self._upright else y
        return self._scaling(layer, name, x)

    def _folded(self, made: Any, layer: Any) -> Any:
        """Replace a weighted layer with one that also normalizes."""
        folded = folded_weights(made, *affine(layer))
        stored = next(one for one in self._made.values() if one.layer is made)
        config = {**made.get_config(), "use_bias": True}
        again = type(made).from_config(config)
        again.trainable = made.trainable
        new = WithWeights(again, lambda _: folded)
        key = next(key for key, one in self._made.items() if one is stored)
        self._made[key] = new
        return new(stored.called_on)

    def _scaling(self, layer: Any, name: str, x: Any) -> Any:
        """Rewrite a batch normalization that follows no weights as a depthwise 1x1 convolution with its statistics."""
        self.notes[name] = "rewritten as a depthwise 1x1 convolution, with its statistics"
        return self._parts(name).scaled_along(layer.axis, x, *affine(layer), trainable=layer.trainable)

    def _activate(self, x: Any, function: Any, name: str, origin: str) -> Any:
        called = activation_name(function)
        if called == NO_ACTIVATION and name != origin:
            return x
        if called in {"relu", "relu6"}:
            return self._new(_layers.ReLU, name, origin, {"max_value": 6.0 if called == "relu6" else None})(x)
        if called in ACTIVATIONS:
            written, formula = ACTIVATIONS[called]
            self.notes.setdefault(origin, f"its {called} is rewritten as {formula}")
            return written(self._parts(name).of(origin), x)
        if traced.is_own_function(function) and (model := traced.traced_function(function, x)) is not None:
            self.notes.setdefault(origin, f"its {called or 'activation'} is rewritten as what it calls")
            return self._inside(model, [x], name, origin)
        known = called in FIXED_ACTIVATIONS | RANGED_ACTIVATIONS | {NO_ACTIVATION}
        return self._new(_layers.Activation, name, origin, {"activation": called if known else function})(x)
