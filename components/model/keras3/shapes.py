"""The operations of `keras.ops` that move, split, join, and contract tensors, in TensorFlow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from components.model.keras3.configs import Config
from components.upstream.keras import is_symbolic

layers = tf.keras.layers


def reshape(config: Config, x: Any) -> Any:
    """Change the shape. The batch stays a separate dimension if nothing moves in or out of it."""
    shape = config["newshape"] if isinstance(config["newshape"], list | tuple) else [config["newshape"]]
    rest, given = list(shape[1:]), x.shape[1:]
    # Only in this case, the first dimension stays the batch.
    if given.is_fully_defined() and shape[0] in (-1, None) and -1 not in rest and math.prod(rest) == math.prod(given):
        return layers.Reshape(rest, name=config["name"])(x)
    return tf.reshape(x, [-1 if size is None else size for size in shape])


def transpose(config: Config, x: Any) -> Any:
    """Change the order of dimensions."""
    axes = config.get("axes")
    if axes and axes[0] == 0 and len(axes) > 1:
        return layers.Permute(tuple(axis % len(axes) for axis in axes[1:]), name=config["name"])(x)
    return tf.transpose(x, axes)


def moveaxis(config: Config, x: Any) -> Any:
    """Move dimensions to other positions."""
    source, destination = (
        [axis % x.shape.rank for axis in (value if isinstance(value, list | tuple) else [value])]
        for value in (config["source"], config["destination"])
    )
    order = [axis for axis in range(x.shape.rank) if axis not in source]
    for to, axis in sorted(zip(destination, source, strict=True)):
        order.insert(to, axis)
    return transpose({**config, "axes": order}, x)


def swapaxes(config: Config, x: Any) -> Any:
    """Exchange two dimensions."""
    order = list(range(x.shape.rank))
    one, other = config["axis1"], config["axis2"]
    order[one], order[other] = order[other], order[one]
    return transpose({**config, "axes": order}, x)


def concatenate(config: Config, xs: Any) -> Any:
    """Join tensors along a dimension."""
    axis = config.get("axis", 0)
    if axis != 0 and all(map(is_symbolic, xs)):
        return layers.Concatenate(axis=axis, name=config["name"])(list(xs))
    return tf.concat(list(xs), axis)


def split(config: Config, x: Any) -> Any:
    """Split a tensor into equal parts, or at indices."""
    axis, parts = config.get("axis", 0), config["indices_or_sections"]
    if isinstance(parts, list | tuple):
        ends = [*parts, x.shape[axis]]
        parts = [end - start for start, end in zip([0, *parts], ends, strict=True)]
    return tf.split(x, parts, axis)


def get_item(_config: Config, x: Any, key: Any) -> Any:
    """Index a tensor as NumPy does."""
    keys = list(key) if isinstance(key, list | tuple) else [key]
    # tf-keras can't save `...`.
    places = [index for index, one in enumerate(keys) if one is Ellipsis]
    for place in places:
        named = sum(one is not None for one in keys) - 1
        keys[place : place + 1] = [slice(None)] * (x.shape.rank - named)
    return x[tuple(keys)]


def pad(config: Config, x: Any, constant_values: Any = None) -> Any:
    """Pad each dimension."""
    width = config["pad_width"]
    pairs = np.broadcast_to(np.asarray(width), [x.shape.rank, 2]).tolist()
    mode = config.get("mode", "constant")
    outer_only = x.shape.rank == 4 and pairs[0] == pairs[3] == [0, 0]
    if mode == "constant" and not constant_values and outer_only:
        return layers.ZeroPadding2D((tuple(pairs[1]), tuple(pairs[2])), name=config["name"])(x)
    return tf.pad(x, pairs, mode.upper(), **({"constant_values": constant_values} if constant_values else {}))


def einsum(config: Config, *operands: Any) -> Any:
    """Contract one or two tensors by sums, transpositions, and a matrix product.

    tf-keras files don't record which tensors `tf.einsum` reads. It is only called for equations with an ellipsis, with
    an index twice in a term, with constants, or with more tensors.
    """
    terms, arrow, output = config["subscripts"].replace(" ", "").partition("->")
    indices = terms.split(",")
    plain = all(term.isalpha() and len({*term}) == len(term) for term in (*indices, output))
    if arrow and plain and len(indices) == len(operands) <= 2 and all(map(is_symbolic, operands)):
        needed = [{*output, *"".join(indices[:place] + indices[place + 1 :])} for place in range(len(indices))]
        summed = [_summed(*each) for each in zip(operands, indices, needed, strict=True)]
        x, term = summed[0] if len(summed) == 1 else _product(*summed[0], *summed[1], output)
        if x is not None:
            return _ordered(x, term, output)
    return tf.einsum(config["subscripts"], *operands)


def _summed(x: Any, term: str, needed: set[str]) -> tuple[Any, str]:
    """The tensor without the axes that nothing else needs, and its indices."""
    axes = [axis for axis, index in enumerate(term) if index not in needed]
    return (tf.reduce_sum(x, axes) if axes else x), "".join(index for index in term if index in needed)


def _product(x: Any, left: str, y: Any, right: str, output: str) -> tuple[Any, str]:
    """The matrix product along common indices that aren't in the output, and its indices; None for unknown sizes."""
    sizes = dict(zip(left + right, [*x.shape, *y.shape], strict=True))
    common = [index for index in left if index in right]
    both, over = [one for one in common if one in output], [one for one in common if one not in output]
    rows, columns = [one for one in left if one not in common], [one for one in right if one not in common]
    unknown = [index for index, size in sizes.items() if size is None]
    if len(unknown) > 1 or not {*unknown} <= {*both}:
        return None, ""

    def joined(tensor: Any, term: str, *groups: list[str]) -> Any:
        ordered = _ordered(tensor, term, "".join(both + groups[0] + groups[1]))
        wanted = [*(sizes[one] for one in both), *(math.prod(sizes[one] for one in group) for group in groups)]
        return _reshaped(ordered, wanted)

    z = tf.matmul(joined(x, left, rows, over), joined(y, right, over, columns))
    term = "".join(both + rows + columns)
    return _reshaped(z, [sizes[index] for index in term]), term


def _ordered(x: Any, term: str, wanted: str) -> Any:
    return x if term == wanted else tf.transpose(x, [term.index(index) for index in wanted])


def _reshaped(x: Any, wanted: list[int | None]) -> Any:
    return x if x.shape.as_list() == wanted else tf.reshape(x, [-1 if size is None else size for size in wanted])
