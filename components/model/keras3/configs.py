"""Translates the configurations of single objects from Keras 3 to tf-keras. Pure: imports neither version of Keras."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from components.core.errors import ModelError

Config = dict[str, Any]
EXPORT = (
    "export it as a SavedModel in the environment that saved it, `model.export('folder')`, and use that folder: all "
    "recipes without steps work with it"
)

# Options that don't affect the results of a layer with known weights, or affect only its speed.
_WITHOUT_EFFECT = {
    "autocast", "build_input_shape", "flash_attention", "gptq_unpacked_column_size", "input_length", "lora_alpha",
    "lora_rank", "name", "optional", "quantization_config", "ragged", "renorm_clipping", "renorm_momentum", "salt",
    "seed", "sparse", "synchronized", "use_cudnn", "value_range",
}  # fmt: skip
_ONLY_IF = {"fill_mode": "pad_to_aspect_ratio", "fill_value": "pad_to_aspect_ratio"}
MODELS = ("Functional", "Model", "Sequential")
# Layers of `keras.applications` that become several layers.
_LAYERS_AS_OPERATIONS = {"CustomScaleLayer"}
_KERAS = re.compile(r"keras(\.|$)")
_LAYERS = re.compile(r"keras\.(src\.)?(layers|models|applications)\b")
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
_KEPT = re.compile(r"keras\.(regularizers|constraints)")
_KEPT_CLASSES = {"L1", "L2", "L1L2", "OrthogonalRegularizer", "NonNeg", "UnitNorm", "MaxNorm", "MinMaxNorm"}

# Activations with the same meaning in both. `hard_sigmoid` isn't one: Keras 3 changed its slope from 0.2 to 1/6.
_SAME_ACTIVATIONS = {
    "linear", "relu", "sigmoid", "tanh", "softmax", "softplus", "softsign", "elu", "selu", "gelu", "exponential",
    "mish",
}  # fmt: skip
# Activations that tf-keras lacks or defines differently -> the operation of Keras 3 that computes them.
_AS_OPERATION: dict[str, tuple[str, Config]] = {
    "relu6": ("Relu6", {}),
    "leaky_relu": ("LeakyRelu", {"negative_slope": 0.2}),
    "hard_sigmoid": ("HardSigmoid", {}),
    "hard_silu": ("HardSilu", {}),
    "hard_swish": ("HardSilu", {}),
    "hard_tanh": ("HardTanh", {}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
    "log_sigmoid": ("LogSigmoid", {}),
    "celu": ("Celu", {"alpha": 1.0}),
    "squareplus": ("Squareplus", {"b": 4}),
    "tanh_shrink": ("TanhShrink", {}),
}
# Layers whose activation is their last computation, so that an operation can follow instead.
_ENDS_WITH_ACTIVATION = re.compile(
    r"Activation|Dense|EinsumDense|(Separable|Depthwise)?Conv[123]D(Transpose)?|DepthwiseConv[12]D|SeparableConv[12]D"
)
# Characters that the name of a graph's scope must not contain, and must not start with.
_UNFIT, _UNFIT_START = re.compile(r"[^A-Za-z0-9_.\\/>-]"), re.compile(r"(?=[^A-Za-z0-9.])")


def refusal(layer: str, why: str, *, bound: object = None, measured: object = None, remedy: str = "") -> ModelError:
    """The error for a layer.

    Args:
        layer: The layer's name in the Keras file.
        why: The problem with it, as part of a sentence.
        bound: What can be rebuilt.
        measured: What was found.
        remedy: Advice that comes before the export.
    """
    return ModelError(
        f"tf-keras cannot rebuild this model of Keras 3: {why}",
        where=f"layer {layer}",
        bound=bound,
        measured=measured,
        remedy=f"{remedy}, or {EXPORT}" if remedy else EXPORT,
    )


class Operation(NamedTuple):
    """An operation of `keras.ops`, such as `Mean`, with the arguments of its class."""

    kind: str
    config: Config


class Translated(NamedTuple):
    """The arguments of a tf-keras layer.

    Attributes:
        arguments: Arguments of its class. Layers inside are still entries of Keras 3.
        then: What to apply to its output, because tf-keras has no such activation: an operation, an entry of a layer,
            or the registered name of a function; None for nothing.
    """

    arguments: Config
    then: Operation | Config | None


def is_entry(value: Any) -> bool:
    """Whether a value of a configuration stands for an object, such as a layer inside a layer."""
    return isinstance(value, dict) and isinstance(value.get("class_name"), str) and "config" in value


def is_layer(entry: Config) -> bool:
    """Whether an entry stands for a layer or model, and not for an operation, a function, or an initializer."""
    if entry["class_name"] in _LAYERS_AS_OPERATIONS:
        return False
    module = str(entry.get("module"))
    if _KERAS.match(module):
        return _LAYERS.match(module) is not None or entry["class_name"] in MODELS
    # Files in HDF5 don't contain modules, and other modules can define anything.
    return (
        {"module", "inbound_nodes"} <= entry.keys()
        or "build_config" in entry
        or (isinstance(entry["config"], dict) and "trainable" in entry["config"])
    )


def name_of(entry: Config) -> str:
    """The name of a layer or operation; the name of its class if it has none."""
    config = entry["config"]
    return str(entry.get("name") or (config.get("name") if isinstance(config, dict) else "") or entry["class_name"])


def registered_name(entry: Config) -> str:
    """The name by which a class or function is registered."""
    return str(entry.get("registered_name") or entry["class_name"])


def entries_within(value: Any) -> Iterator[Config]:
    """Yield all entries in a configuration, from the outside in."""
    if is_entry(value):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from entries_within(item)


class Names:
    """The names in tf-keras for those in a file. Characters that its graphs don't accept, such as spaces, become "_".

    Args:
        config: The configuration of the model. Unchanged names must not collide with changed ones.
    """

    def __init__(self, config: Config) -> None:
        self._taken = {name_of(entry) for entry in entries_within(config)}
        self._given: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The name for a name from the file; always the same for the same name."""
        if name not in self._given:
            found = _UNFIT.sub("_", name)
            found = f"layer{found}" if _UNFIT_START.match(found) else found
            while found != name and found in self._taken:
                found += "_"
            self._taken.add(found)
            self._given[name] = found
        return self._given[name]

    def give_up(self, name: str) -> None:
        """Leave a name to an output: the layers of this name that are built from now on get another one."""
        free = f"{self(name)}_layer"
        while free in self._taken:
            free += "_"
        self._taken.add(free)
        self._given[name] = free


def translated(layer: str, entry: Config, accepted: Collection[str]) -> Translated:
    """Translate the configuration of a layer of Keras itself.

    Args:
        layer: The layer's name, for the message.
        entry: Its entry.
        accepted: The arguments that the tf-keras class of the same name accepts.

    Raises:
        ModelError: An option or activation has no counterpart.
    """
    kind, config = entry["class_name"], entry["config"]
    then: Operation | Config | None = None
    arguments: Config = {}
    for given, value in config.items():
        name = _RENAMED.get(kind, {}).get(given, given)
        if name == "dtype":
            arguments[name] = dtype_name(layer, value)
        elif name.endswith("_initializer"):
            continue
        elif name.endswith(("_regularizer", "_constraint")):
            if is_entry(value) and _KEPT.match(str(value.get("module"))) and value["class_name"] in _KEPT_CLASSES:
                arguments[name] = value
        elif name in ("activation", "recurrent_activation"):
            arguments[name], then = _activation(layer, kind, name, value)
        elif name in accepted:
            arguments[name] = value
        elif not _can_be_dropped(name, value, config):
            raise refusal(layer, f"tf-keras has no option {name!r}", bound="options of tf-keras", measured=f"{value!r}")
    if kind == "Bidirectional":
        _drop_mirrored_layer(arguments)
    return Translated(arguments, then)


def dtype_name(layer: str, policy: Any) -> str | None:
    """The name of a data type policy.

    Raises:
        ModelError: The layer was quantized.
    """
    if not is_entry(policy):
        return None if policy is None else str(policy)
    if policy["class_name"] not in ("DTypePolicy", "FloatDTypePolicy"):
        raise refusal(
            layer,
            "its weights are already quantized",
            bound="a float model",
            measured=policy["config"].get("name", policy["class_name"]),
            remedy="use the model from before `model.quantize`",
        )
    return str(policy["config"]["name"])


def _activation(layer: str, kind: str, option: str, value: Any) -> tuple[Any, Operation | Config | None]:
    """Return the activation that tf-keras applies, and what to apply instead of it after the layer."""
    if is_entry(value) and value["class_name"] == "function":
        value = value["config"] if str(value.get("module")).startswith(("keras", "builtins")) else value
    if value is None or (isinstance(value, str) and value in _SAME_ACTIVATIONS):
        return value, None
    if value in ("silu", "swish"):
        return "swish", None
    instead = Operation(*_AS_OPERATION[value]) if isinstance(value, str) and value in _AS_OPERATION else value
    if option == "activation" and _ENDS_WITH_ACTIVATION.fullmatch(kind) and not isinstance(instead, str):
        return "linear", instead
    raise refusal(
        layer,
        f"tf-keras has no {option} like this one",
        bound=", ".join(sorted({*_SAME_ACTIVATIONS, "silu"})),
        measured=value if isinstance(value, str) else value.get("registered_name") or value["class_name"],
    )


def _can_be_dropped(name: str, value: Any, config: Mapping[str, Any]) -> bool:
    unused = (name in _ONLY_IF and not config.get(_ONLY_IF[name])) or (name == "groups" and value == 1)
    return name in _WITHOUT_EFFECT or unused or value is None or value is False or value in ("auto", "channels_last")


def _drop_mirrored_layer(arguments: Config) -> None:
    """Leave out the backward layer of a Bidirectional if tf-keras creates the same one from the forward layer."""
    forward, backward = (dict(arguments[key]["config"]) for key in ("layer", "backward_layer"))
    # tf-keras adds these prefixes again.
    forward["name"], backward["name"] = (
        config["name"].removeprefix(prefix) for config, prefix in ((forward, "forward_"), (backward, "backward_"))
    )
    arguments["layer"] = {**arguments["layer"], "config": forward}
    if {**forward, "name": "", "go_backwards": True} == {**backward, "name": ""}:
        del arguments["backward_layer"]
    else:
        arguments["backward_layer"] = {**arguments["backward_layer"], "config": backward}
