"""Rebuilds models of Keras 3 in tf-keras from their configurations, by calling each layer as its graph says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from components.core.errors import ModelError
from components.model.keras3.configs import (
    EXPORT,
    MODELS,
    Config,
    Names,
    Operation,
    dtype_name,
    is_entry,
    is_layer,
    name_of,
    refusal,
    registered_name,
    translated,
)
from components.model.keras3.graph import Graph, Place, named, named_places, only, places, refused_as, symbolic_input
from components.model.keras3.layer_classes import (
    IN_APPLICATIONS,
    accepted_arguments,
    is_custom,
    is_model,
    layer_class_named,
)
from components.model.keras3.operators import KNOWN_OPERATIONS, apply_operation
from components.upstream.keras import lambdas_allowed

# The part that follows a layer: an operation, or an activation that is a layer or a registered function.
_Then = Operation | Config | None


class Part(NamedTuple):
    """A rebuilt layer or model.

    Attributes:
        name: Its name in the file.
        kind: The name of its class in Keras 3.
        layer: The tf-keras layer; None for an input of a functional model.
        inside: Argument -> the layers that it was built from. A model's only argument is `layers`: its layers in the
            order of the file.
        custom: Whether the task registered its class.
    """

    name: str
    kind: str
    layer: Any
    inside: dict[str, list[Part]]
    custom: bool = False


def rebuild(config: Config) -> Part:
    """Rebuild a model, with initial weights. Lambda layers execute: refuse untrusted ones first.

    Args:
        config: Class and configuration of the model, as in `config.json`.

    Raises:
        ModelError: A layer, an option, or an operation has no counterpart in tf-keras.
    """
    if not is_entry(config) or not is_model(config):
        raise ModelError(
            "tf-keras cannot rebuild this model of Keras 3: it is a subclassed model, not a graph of layers",
            bound="a functional or Sequential model",
            measured=config.get("registered_name") or config.get("class_name"),
            remedy=f"wrap it in a functional model (`keras.Model(inputs, model(inputs))`) if it consists of layers, "
            f"or {EXPORT}",
        )
    return _Builder(Names(config)).part(config, outermost=True)


class _Builder:
    """Builds layers, and each shared layer only once."""

    def __init__(self, names: Names) -> None:
        self._names = names
        # Layers that return an output of the outermost model under their own names, which are those of the outputs.
        self._last: dict[str, str] = {}
        self._shared: dict[int, Part] = {}

    def part(self, entry: Config, *, outermost: bool = False) -> Part:
        """Build a layer or a model, with all layers inside."""
        part, then = self._part(entry, outermost=outermost)
        if then is not None:
            raise refusal(
                part.name,
                "tf-keras has no such activation, and nothing can follow a layer inside another one",
                measured=_described(then),
            )
        return part

    def _part(self, entry: Config, *, outermost: bool = False) -> tuple[Part, _Then]:
        """Build a layer or a model. Returns it, and the part to apply to its output."""
        identity, then = entry.get("shared_object_id"), None
        if identity in self._shared:
            return self._shared[identity], None
        if is_model(entry):
            sequential = entry["class_name"] == "Sequential"
            part = (
                self._sequential(entry["config"], outermost)
                if sequential
                else self._functional(entry["config"], outermost)
            )
        else:
            part, then = self._layer(entry)
        if identity is not None and then is None:
            self._shared[identity] = part
        return part, then

    def _layer(self, entry: Config) -> tuple[Part, _Then]:
        name, kind, config = name_of(entry), entry["class_name"], entry["config"]
        if is_custom(entry):
            registered = tf.keras.utils.get_registered_object(registered_name(entry))
            with refused_as(name):
                config = {**config, "name": self._names(name), "dtype": dtype_name(name, config.get("dtype"))}
                return Part(name, kind, registered.from_config(config), {}, custom=True), None
        if kind in IN_APPLICATIONS:
            with refused_as(name):
                return Part(name, kind, IN_APPLICATIONS[kind]({**config, "name": self._names(name)}), {}), None
        layer_class = layer_class_named(kind)
        if layer_class is None:
            raise refusal(name, f"tf-keras has no layer {kind}", bound="layers of tf-keras", measured=kind)
        if kind == "Lambda":
            with refused_as(name), lambdas_allowed():
                config = {**config, "name": self._names(name), "dtype": dtype_name(name, config.get("dtype"))}
                return Part(name, kind, layer_class.from_config(config), {}), None
        arguments, then = translated(name, entry, accepted_arguments(layer_class))
        inside: dict[str, list[Part]] = {}
        for option, value in arguments.items():
            values = value if isinstance(value, list) else [value]
            if values and all(is_entry(one) and is_layer(one) for one in values):
                inside[option] = [self.part(one) for one in values]
                built = [part.layer for part in inside[option]]
                arguments[option] = built if isinstance(value, list) else built[0]
        if then is not None and name in self._last:
            self._names.give_up(name)
        if "name" in arguments:
            arguments["name"] = self._names(arguments["name"])
        with refused_as(name):
            return Part(name, kind, layer_class(**arguments), inside), then

    def _sequential(self, config: Config, outermost: bool) -> Part:
        name, entries = config["name"], list(config["layers"])
        if outermost and entries:
            last = name_of(entries[-1])
            self._last = {last: self._names(last)}
        if entries and entries[0]["class_name"] == "InputLayer":
            first = entries.pop(0)["config"]
            tensor = symbolic_input(self._names(first["name"]), first)
        elif config.get("build_input_shape"):
            tensor = symbolic_input(self._names(f"{name}_input"), {"batch_shape": config["build_input_shape"]})
        else:
            raise ModelError(
                "the model does not define its inputs",
                where=f"model {name}",
                bound="a Sequential model that starts with an Input",
                measured="no Input, and never called",
                remedy="give it an Input first, and save it again",
            )
        built = [self._part(entry) for entry in entries]
        if any(then is not None for _, then in built):
            inputs = tensor
            for part, then in built:
                with refused_as(part.name):
                    tensor = part.layer(tensor)
                tensor = self._follow(part.name, then, tensor)
            for wanted in self._last.values() if outermost else ():
                tensor = named(wanted, tensor)
            model = tf.keras.Model(inputs, tensor, name=self._names(name))
        else:
            model = tf.keras.Sequential([tensor], name=self._names(name))
            for part, _ in built:
                with refused_as(part.name):
                    model.add(part.layer)
        return Part(name, "Sequential", _frozen(model, config), {"layers": [part for part, _ in built]})

    def _functional(self, config: Config, outermost: bool) -> Part:
        graph = Graph(config)
        built: dict[str, tuple[Part, _Then]] = {}
        keys = {place[0]: key for key, place in named_places(config["input_layers"]) if key and outermost}
        wanted = self._output_names(config) if outermost else []
        for entry in config["layers"]:
            name = entry["name"]
            if entry["class_name"] == "InputLayer":
                built[name] = Part(name, "InputLayer", None, {}), None
                graph.store(name, [symbolic_input(self._names(keys.get(name, name)), entry["config"])])
            elif is_layer(entry):
                built[name] = self._part(entry)

        def call(entry: Config, args: list[Any], kwargs: Config) -> Any:
            name = entry["name"]
            if name not in built:
                return self._operate(name, name, Operation(entry["class_name"], entry["config"]), args, kwargs)
            part, then = built[name]
            if part.kind in MODELS:
                args = [only(tf.nest.flatten(args[0])), *args[1:]]
            with refused_as(name):
                result = part.layer(*args, **kwargs)
            return self._follow(name, then, result)

        def tensor(place: Place) -> Any:
            # Only here, Keras counts the call that defines a nested model.
            name, node, index = place
            return graph.tensor(name, node - (name in built and built[name][0].kind == "Functional"), index)

        graph.run(call)
        inputs = [tensor(place) for place in places(config["input_layers"])]
        outputs = [tensor(place) for _, place in named_places(config["output_layers"])]
        outputs = [named(name, one) for name, one in zip(wanted, outputs, strict=True)] if outermost else outputs
        model = tf.keras.Model(inputs, only(outputs), name=self._names(config["name"]))
        return Part(
            config["name"], "Functional", _frozen(model, config), {"layers": [part for part, _ in built.values()]}
        )

    def _output_names(self, config: Config) -> list[str | None]:
        """The names of the outermost model's outputs; None for one that keeps the name that tf-keras gives it.

        An output has the name of its key or, without one, of its last layer or operation. Other layers give this name
        up, except inputs.
        """
        inputs = {entry["name"] for entry in config["layers"] if entry["class_name"] == "InputLayer"}
        layers = {entry["name"] for entry in config["layers"] if is_layer(entry)}
        others = {entry["name"] for entry in config["layers"]} - inputs
        found: list[str | None] = []
        for key, (layer, _, _) in named_places(config["output_layers"]):
            name = key or layer
            if name in inputs or (key is None and layer in layers and self._names(layer) in found):
                found.append(None)  # An input that is returned, or another output of a layer.
                continue
            if name == layer and layer in layers:
                self._last[layer] = self._names(layer)
            fit, number = self._names(name), 0
            while fit in found or (number and fit in others):
                number += 1
                fit = f"{self._names(name)}_{number}"
            found.append(fit)
        for key, (layer, _, _) in named_places(config["output_layers"]):
            if key is not None and key in others and key != layer:
                self._names.give_up(key)
        return found

    def _follow(self, name: str, then: _Then, result: Any) -> Any:
        """Apply the part that follows a layer to its output."""
        if then is None:
            return result
        if isinstance(then, Operation):
            return self._operate(name, f"{name}_{then.kind.lower()}", then, [result], {})
        if is_layer(then):
            with refused_as(name):
                return self.part(then).layer(result)
        registered = tf.keras.utils.get_registered_object(registered_name(then))
        if registered is None:
            raise refusal(
                name,
                "its activation is not registered",
                measured=_described(then),
                remedy="register it with tf.keras.utils.register_keras_serializable in the task's module",
            )
        with refused_as(name):
            return tf.keras.layers.Activation(registered, name=self._names(f"{name}_{registered.__name__}"))(result)

    def _operate(self, name: str, label: str, operation: Operation, args: Sequence[Any], kwargs: Config) -> Any:
        if operation.kind not in KNOWN_OPERATIONS:
            raise refusal(
                name,
                f"the operation {operation.kind} cannot be rebuilt",
                bound="arithmetic, activations, reductions, and rearrangements from keras.ops",
                measured=f"keras.ops, {operation.kind}",
            )
        with refused_as(name):
            return apply_operation(operation.kind, operation.config, self._names(label), args, kwargs)


def _frozen(model: Any, config: Config) -> Any:
    if config.get("trainable") is False:
        model.trainable = False
    return model


def _described(then: Operation | Config) -> str:
    return then.kind if isinstance(then, Operation) else registered_name(then)
