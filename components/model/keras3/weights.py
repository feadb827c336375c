"""Carries weights of Keras 3 over to a rebuilt model, each by the path and the name of its variable."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import h5py

from components.model.keras3.configs import refusal
from components.model.keras3.rebuild import Part
from components.model.keras3.saved_file import SavedKeras3, StoredWeights, values_of
from components.upstream.keras import attention_projections, is_layer, own_weights

# The variables of a layer in the order in which Keras 3 stores them. If tf-keras has a different name, that name
# follows.
_DENSE = ("kernel", "bias")
_NORM = ("gamma", "beta")
_VARIABLES: list[tuple[str, tuple[str, ...]]] = [
    (r"Dense|EinsumDense|Conv[123]D(Transpose)?", _DENSE),
    (r"(LSTM|GRU|SimpleRNN|ConvLSTM)Cell", ("kernel", "recurrent_kernel", "bias")),
    (r"DepthwiseConv[12]D", ("kernel=depthwise_kernel", "bias")),
    (r"SeparableConv[12]D", ("depthwise_kernel", "pointwise_kernel", "bias")),
    (r"BatchNormalization", (*_NORM, "moving_mean", "moving_variance")),
    (r"LayerNormalization|GroupNormalization", _NORM),
    (r"Embedding", ("embeddings",)),
    (r"LayerScale", ("gamma=depthwise_kernel",)),
    (r"PReLU", ("alpha",)),
    (r"Attention|AdditiveAttention", ("scale", "concat_score_weight")),
    (r"Normalization", ("mean=adapt_mean", "variance=adapt_variance", "count")),
]  # fmt: skip
_MODELS = ("Sequential", "Functional")
_CELLS = re.compile(r"LSTM|GRU|SimpleRNN|ConvLSTM[123]D")
# State of random numbers, which inference doesn't use.
_IGNORED = re.compile(r"(^|/)(seed_generator|generator)(/|$)|_seed_generator|(^|/)random_generator")


class _Leaf(NamedTuple):
    """Variables that belong to one layer itself.

    Attributes:
        path: Path of its weights in a `.keras` file.
        top: Name of the outermost model's layer that is this layer, or contains it.
        names: Names of the enclosing layers, from the outside in, and its own. Models are left out, and "" stands for
            names that Keras generates.
        variables: Name in Keras 3 -> variable of tf-keras.
        named: Whether the order of its variables is known to be the file's. Only for the task's classes, it isn't.
    """

    path: str
    top: str
    names: tuple[str, ...]
    variables: dict[str, Any]
    named: bool


def carry_over(model: Part, saved: SavedKeras3) -> int:
    """Assign all weights of a file to the rebuilt model.

    Returns:
        The number of variables.

    Raises:
        ModelError: Layers, variables, or shapes differ from those in the file, or a weight in the file is left over.
    """
    left = {path: dict(stored.arrays) for path, stored in saved.weights.items() if not _IGNORED.search(path)}
    count = 0
    seen: set[int] = set()
    for leaf in _leaves(model, "", "", (), seen):
        if saved.by_name:
            found = _by_name(leaf, left.get(leaf.top, {}))
        else:
            found = _by_path(leaf, saved.weights.get(leaf.path), left.pop(leaf.path, {}))
        for name, variable in leaf.variables.items():
            _assign(leaf, name, variable, found[name])
        count += len(leaf.variables)
    rest = sorted(path for path, arrays in left.items() if any(not _IGNORED.search(f"{path}/{key}") for key in arrays))
    if rest:
        raise refusal(
            saved.weights[rest[0]].layer or rest[0],
            "no rebuilt layer takes these weights",
            bound="none left over",
            measured=", ".join(rest[:5]),
        )
    for part in _parts(model):
        if part.kind == "Normalization":
            part.layer.finalize_state()
    return count


def _parts(part: Part) -> Iterator[Part]:
    yield part
    for inside in part.inside.values():
        for one in inside:
            yield from _parts(one)


def _leaves(part: Part, path: str, top: str, names: tuple[str, ...], seen: set[int]) -> Iterator[_Leaf]:
    """Yield all layers with their own variables, in the order in which Keras saves them, each layer once."""
    if part.layer is None or id(part.layer) in seen:
        return
    seen.add(id(part.layer))
    if part.kind not in _MODELS:
        names = (*names, part.name)
    if variables := _variables(part):
        yield _Leaf(path, top, names, variables, named=not part.custom)
    for place, inner in _inside(part):
        yield from _leaves(inner, f"{path}/{place}".strip("/"), top or inner.name, names, seen)


def _variables(part: Part) -> dict[str, Any]:
    if part.custom:
        return {str(index): variable for index, variable in enumerate(own_weights(part.layer))}
    for pattern, names in _VARIABLES:
        if re.fullmatch(pattern, part.kind):
            pairs = (name.partition("=") for name in names)
            found = {name: getattr(part.layer, other or name, None) for name, _, other in pairs}
            return {name: variable for name, variable in found.items() if hasattr(variable, "assign")}
    return {}


def _inside(part: Part) -> Iterator[tuple[str, Part]]:
    """Yield the layers inside a layer, each with its path there."""
    if part.kind in _MODELS:
        yield from _numbered("layers", part.inside["layers"])
    elif part.kind == "Bidirectional":
        given = part.inside["layer"][0]
        for side in ("forward_layer", "backward_layer"):
            layer = getattr(part.layer, side)
            # tf-keras builds its own layers from the given layer, and renames any other backward layer.
            name = "" if side in part.inside else layer.name
            yield side, given._replace(name=name, layer=layer, inside=_cell_of(given, layer))
    elif part.kind == "MultiHeadAttention":
        for name, layer in attention_projections(part.layer).items():
            yield name, Part(layer.name, "EinsumDense", layer, {})
    elif _CELLS.fullmatch(part.kind):
        yield "cell", Part("", f"{re.sub('[123]D', '', part.kind)}Cell", part.layer.cell, {})
    elif part.kind == "StackedRNNCells":
        yield from _numbered("cells", part.inside["cells"])
    elif part.custom:
        yield from _held(part.layer)
    else:
        for option, parts in part.inside.items():
            yield option, parts[0]


def _held(layer: Any) -> Iterator[tuple[str, Part]]:
    """Yield the layers that a layer of the task has as attributes, or in lists."""
    for name, value in vars(layer).items():
        if is_layer(value):
            yield name, _part_of(value)
        elif isinstance(value, list) and not name.startswith("_self_"):
            yield from _numbered(name, [_part_of(inner) for inner in value if is_layer(inner)])


def _part_of(layer: Any) -> Part:
    # The task may let Keras name the layer, and Keras numbers its names.
    kind = type(layer)
    return Part("", kind.__name__, layer, {}, custom=not kind.__module__.startswith("tf_keras."))


def _cell_of(given: Part, layer: Any) -> dict[str, list[Part]]:
    return {"cell": [given.inside["cell"][0]._replace(layer=layer.cell)]} if "cell" in given.inside else {}


def _numbered(container: str, parts: Iterable[Part]) -> Iterator[tuple[str, Part]]:
    """Yield layers with their paths in a list, where a `.keras` file numbers the layers of each class."""
    used: dict[str, int] = {}
    for part in parts:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", part.kind))
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        used[name] = used.get(name, -1) + 1
        yield f"{container}/{name}_{used[name]}" if used[name] else f"{container}/{name}", part


def _by_path(leaf: _Leaf, stored: StoredWeights | None, arrays: Mapping[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Return the arrays of a `.keras` file, which are numbered in the order of the layer's variables."""
    if stored is not None and leaf.names[-1] and stored.layer not in ("", leaf.names[-1]):
        raise refusal(leaf.names[-1], f"the weights at {leaf.path} belong to another layer", measured=stored.layer)
    if len(arrays) != len(leaf.variables):
        raise refusal(
            "/".join(filter(None, leaf.names)),
            "the file has a different number of weights for this layer",
            bound=f"{len(leaf.variables)} at {leaf.path}: {', '.join(leaf.variables)}",
            measured=len(arrays),
        )
    return dict(zip(leaf.variables, arrays.values(), strict=True))


def _by_name(leaf: _Leaf, arrays: dict[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Take the arrays of a `.h5` file whose path has the names of the layers and the variable, in this order."""
    found = {}
    for index, name in enumerate(leaf.variables):
        # Layers that store a layer under its own path, such as TimeDistributed, are not in its path.
        parts = [re.escape(part) for part in leaf.names if part and part != leaf.top]
        pattern = re.compile(r"(.*/)?" + "/(.*/)?".join([*parts, re.escape(name)]))
        candidates = [path for path in arrays if pattern.fullmatch(path)]
        if not leaf.named:
            candidates = list(arrays)[:1] if len(leaf.variables) - index <= len(arrays) else []
        if len(candidates) != 1:
            raise refusal(
                "/".join(filter(None, leaf.names)),
                f"the file does not have exactly one weight {name!r} for this layer",
                bound="one",
                measured=", ".join(candidates or arrays) or "no weights",
            )
        found[name] = arrays.pop(candidates[0])
    return found


def _assign(leaf: _Leaf, name: str, variable: Any, stored: h5py.Dataset) -> None:
    values = values_of(stored)
    # LayerScale becomes a 1x1 convolution.
    shape = variable.shape.as_list()
    if name == "gamma" and shape == [1, 1, *values.shape, 1]:
        values = values.reshape(shape)
    if list(values.shape) != shape:
        raise refusal(
            "/".join(filter(None, leaf.names)),
            f"its {name} has a different shape" if leaf.named else "a weight has a different shape",
            bound=tuple(shape),
            measured=values.shape,
        )
    variable.assign(values.astype(variable.dtype.as_numpy_dtype))
