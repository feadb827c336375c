"""Detects Python code inside a pretrained Keras model by parsing its configs, without loading or executing anything."""

from __future__ import annotations

import builtins
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from components.baseline.protobuf import fields
from components.baseline.source import layer_configs
from components.core.errors import ModelError

T = TypeVar("T")

# Lambda layers, and lambdas used as functions, such as activations.
_CODE = {"Lambda", "__lambda__"}
# Layers that call any function that TensorFlow exports. If all arguments are constants, the call happens at load time.
# Some of these functions write files or load libraries or other models.
_CALLS = {
    "TFOpLambda": "function",
    "SlicingOpLambda": "function",
    "ClassMethod": "cls_symbol",
    "InstanceMethod": "attr_name",
    "TensorFlowOpLayer": "node_def",
}
_COMPUTING_MODULES = re.compile(
    "__operators__|bitwise|dtypes|image|linalg|manip|math|nn|quantization|random|sets|signal|sparse|ragged|spectral|strings"
)
_COMPUTING_OF_KERAS = re.compile(r"keras\.(activations|backend)\.(?!deserialize|get|set_)\w+")
_NOT_COMPUTING = re.compile(
    r"(load|py|numpy|rpc|read|write|matching|import|wrap|register|enable|disable|print|session|interactive)(_|$)|\w*session",
    re.IGNORECASE,
)
# Operators that do more than compute tensors. An empty name stands for a name that cannot be read.
_NOT_COMPUTING_OPERATORS = re.compile(
    "^$|File|PyFunc|Rpc|Remote|Print|Save|Restore|Write|Import|Load|Dump|Debug|Dataset|Iterator|Summary|Checkpoint|"
    "Send|Recv|Call|Variable|Table|Queue|Assert"
)
# The second module contains TensorFlow's own initializers, which keras.applications.EfficientNetV2 uses.
_KERAS = re.compile(r"(tf_)?keras(\.|$)|tensorflow\.python\.ops\.init_ops_v2$")
_KERAS_FUNCTIONS = re.compile(
    r"(tf_)?keras\.(src\.)?(activations|constraints|initializers|losses|metrics|regularizers)(\.|$)"
)
# Field number in TensorFlow's NodeDef.
_OPERATOR = 2


def refuse_code(path: Path) -> None:
    """Refuse a model that contains its own code.

    Raises:
        ModelError: The model contains code, or its config cannot be read.
    """
    names = code_inside(path)
    if names:
        raise ModelError(
            "the model contains Python code, which runs when the model is loaded",
            where=str(path),
            bound="layers without lambdas, or `trust_code: true` in `baseline`",
            measured=", ".join(map(_as_layer, names)),
            remedy="rewrite them as layers in the task's module, or set baseline.trust_code if you trust the author",
        )


def _as_layer(name: str) -> str:
    """A name from `code_inside` as part of a message. The name can include the function that the layer calls."""
    own, space, reason = name.partition(" (")
    return name if own == "a layer" else f"layer {own!r}{space}{reason}"


def code_inside(path: Path) -> tuple[str, ...]:
    """Return the sorted names of layers that are or contain Lambdas, or that call functions with side effects.

    Raises:
        ModelError: A config cannot be read.
    """
    return tuple(sorted(set(_found(path, lambda config: _code(config, "a layer")))))


class Import(NamedTuple):
    """An unregistered object that loading a model imports: `name` from `module`."""

    registered_name: str
    module: str
    name: str


def imports_inside(path: Path) -> tuple[Import, ...]:
    """Return the objects outside Keras that loading a model would import.

    Raises:
        ModelError: A config cannot be read.
    """
    return tuple(sorted(set(_found(path, _imports))))


def _found(path: Path, look: Callable[[Any], Iterator[T]]) -> list[T]:
    try:
        return [found for config in _configs(path) for found in look(json.loads(config))]
    except Exception as error:
        # Damaged archives raise errors from zipfile, zlib, h5py, or json; some are bare RuntimeErrors.
        raise ModelError(
            "the config of this Keras model cannot be read, so it is unknown whether the model contains code",
            where=str(path),
            measured=type(error).__name__,
            remedy="copy or save the model again",
        ) from error


def _configs(path: Path) -> Iterator[bytes]:
    """Yield the JSON config of every format that the bytes match: Keras picks the format by file name."""
    if path.is_dir():
        yield from layer_configs(path)
        return
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "config.json" in archive.namelist():
                yield archive.read("config.json")
    import h5py

    if h5py.is_hdf5(path):
        with h5py.File(path) as archive:
            config = archive.attrs.get("model_config")
        if config is not None:
            yield config if isinstance(config, bytes) else str(config).encode()


def _code(config: Any, layer: str) -> Iterator[str]:
    if isinstance(config, list):
        for item in config:
            yield from _code(item, layer)
    if not isinstance(config, dict):
        return
    inner = config.get("config")
    name = config.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    if isinstance(name, str):
        layer = name
    kinds = (config.get("class_name"), config.get("registered_name"))
    names = {re.split(r"[.>]", kind)[-1] for kind in kinds if isinstance(kind, str)}
    if names & _CODE or config.get("function_type") == "lambda":
        yield layer
    for kind in names & set(_CALLS):
        called = inner.get(_CALLS[kind]) if isinstance(inner, dict) else None
        if _CALLS[kind] == "node_def":
            called = _operator(called)
            computes = not _NOT_COMPUTING_OPERATORS.search(called)
        else:
            computes = _CALLS[kind] == "function" and _computes(str(called))
        if not computes:
            yield f"{layer} (calls {called})"
    for item in config.values():
        yield from _code(item, layer)


def _operator(node: Any) -> str:
    """The operator of a NodeDef, which a config stores as JSON or as text of its serialized bytes."""
    if isinstance(node, dict):
        return str(node.get("op", ""))
    return b"".join(list(fields(str(node).encode(), _OPERATOR))[-1:]).decode()


def _computes(function: str) -> bool:
    """Return whether a TensorFlow function, given by its name in Keras, only computes tensors."""
    module, dot, _ = function.removeprefix("compat.v1.").partition(".")
    if dot:
        return any(
            known.fullmatch(name) for known, name in ((_COMPUTING_MODULES, module), (_COMPUTING_OF_KERAS, function))
        )
    return not _NOT_COMPUTING.match(module)


def _imports(config: Any) -> Iterator[Import]:
    if isinstance(config, list):
        for item in config:
            yield from _imports(item)
    if not isinstance(config, dict):
        return
    module, name = config.get("module"), config.get("class_name")
    if isinstance(module, str) and isinstance(name, str):
        function = config.get("config") if name == "function" else None
        if isinstance(function, str):
            # Keras names its own functions without their module.
            ours = _KERAS_FUNCTIONS.match(module) or (module == "builtins" and not hasattr(builtins, function))
            if not ours:
                yield Import(function, module, function)
        # Keras keeps classes and functions in one namespace, and some of its functions read and write files.
        elif not (_KERAS.match(module) and name[:1].isupper()):
            yield Import(str(config.get("registered_name")), module, name)
    for item in config.values():
        yield from _imports(item)
