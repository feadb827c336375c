"""The graph of a functional model as Keras 3 stores it: calls of layers on the outputs of earlier calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import EdgemillError, summary_line
from components.model.keras3.configs import Config, dtype_name, refusal

# The layer, the index of its call, and the index of the tensor among those that the call returns.
Place = tuple[str, int, int]


class NotReadyError(Exception):
    """A layer is called on the output of a call that comes later."""


class Graph:
    """The calls of a functional model, and the tensors that they return."""

    def __init__(self, config: Config) -> None:
        self._waiting = {entry["name"]: (entry, list(entry.get("inbound_nodes") or ())) for entry in config["layers"]}
        self._tensors: dict[str, list[list[Any]]] = {name: [] for name in self._waiting}

    def store(self, name: str, tensors: list[Any]) -> None:
        """Add the results of one more call of a layer."""
        self._tensors[name].append(tensors)

    def tensor(self, name: str, node: int, index: int) -> Any:
        """The results of a call."""
        calls = self._tensors.get(name)
        if calls is None:
            raise refusal(name, "the graph names a layer that it lacks", remedy="save the model again")
        if node >= len(calls):
            raise NotReadyError
        return calls[node][index]

    def run(self, call: Callable[[Config, list[Any], Config], Any]) -> None:
        """Make all calls, each after those whose outputs it takes."""
        while any(nodes for _, nodes in self._waiting.values()):
            made = 0
            for name, (entry, nodes) in self._waiting.items():
                while nodes:
                    try:
                        args, kwargs = self._arguments(name, nodes[0])
                    except NotReadyError:
                        break
                    self.store(name, tf.nest.flatten(call(entry, args, kwargs)))
                    nodes.pop(0)
                    made += 1
            if not made:
                stuck = [name for name, (_, nodes) in self._waiting.items() if nodes]
                raise refusal(", ".join(stuck[:3]), "the graph is circular", remedy="save the model again")

    def _arguments(self, name: str, node: Any) -> tuple[list[Any], Config]:
        if not isinstance(node, dict):
            raise refusal(name, "its calls are not in the format of Keras 3",
                          remedy="save the model again")  # fmt: skip
        args = [self._value(name, value) for value in node.get("args", ())]
        while args and args[-1] is None:
            args.pop()
        kwargs = {key: self._value(name, value) for key, value in node.get("kwargs", {}).items() if value is not None}
        return args, kwargs

    def _value(self, name: str, value: Any) -> Any:
        match value:
            case {"class_name": "__keras_tensor__", "config": config}:
                tensor = self.tensor(*config["keras_history"])
                _check_tensor(config["keras_history"][0], tensor, config)
                return tensor
            case {"class_name": "__slice__", "config": config}:
                return slice(*(self._value(name, config[key]) for key in ("start", "stop", "step")))
            case {"class_name": "__ellipsis__"}:
                return Ellipsis
            case {"class_name": "__numpy__" | "__tensor__", "config": config}:
                return np.array(config["value"], config["dtype"])
            case {"class_name": str(kind), "config": _}:
                raise refusal(name, "it is called with an object", bound="tensors, numbers, and text", measured=kind)
            case list():
                return [self._value(name, item) for item in value]
            case dict():
                return {key: self._value(name, item) for key, item in value.items()}
        return value


def _check_tensor(name: str, tensor: Any, config: Config) -> None:
    """Check the shape and type of a rebuilt tensor against those in Keras 3."""
    shape = config["shape"]
    found = tensor.shape.as_list() if tensor.shape.rank is not None else None
    agree = shape is None or found is None or (
        len(shape) == len(found) and all(None in pair or pair[0] == pair[1] for pair in zip(shape, found, strict=True))
    )  # fmt: skip
    if not agree or tensor.dtype.name != config["dtype"]:
        raise refusal(name, "it returns something else there", bound=f"{config['dtype']} {shape}",
                      measured=f"{tensor.dtype.name} {found}")  # fmt: skip


def named_places(structure: Any) -> Iterator[tuple[str | None, Place]]:
    """Yield the tensors of a model's structure in the order of Keras, with their key if it is a dict."""
    if isinstance(structure, dict):
        yield from ((key, place) for key in sorted(structure) for place in places(structure[key]))
    else:
        yield from ((None, place) for place in places(structure))


def places(structure: Any) -> Iterator[Place]:
    """Yield the tensors of a model's structure in the order of Keras."""
    match structure:
        case [str(name), int(node), int(index)]:
            yield name, node, index
        case list():
            for item in structure:
                yield from places(item)
        case dict():
            for key in sorted(structure):
                yield from places(structure[key])


class refused_as:  # noqa: N801 - used like a function
    """A context in which any error of tf-keras becomes a refusal of the layer."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, EdgemillError | NotReadyError):
            raise refusal(self._name, f"{type(error).__name__}: {summary_line(error)}") from error


def symbolic_input(name: str, config: Config) -> Any:
    """The symbolic tensor of an input layer.

    Raises:
        ModelError: The input isn't one dense tensor.
    """
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None or config.get("sparse") or config.get("ragged"):
        raise refusal(name, "the input is not one dense tensor", bound="a dense input with a shape")
    dtype = dtype_name(name, config.get("dtype")) or "float32"
    return tf.keras.Input(batch_shape=tuple(shape), dtype=dtype, name=name)


def named(name: str | None, tensor: Any) -> Any:
    """Give an output the name by which the model returns it, unless its layer has that name."""
    if name is None or tensor.node.layer.name == name:
        return tensor
    return tf.keras.layers.Activation("linear", name=name, dtype=tensor.dtype.name)(tensor)


def only(values: Sequence[Any]) -> Any:
    """The value if there is one, otherwise all of them in a list."""
    return values[0] if len(values) == 1 else list(values)
