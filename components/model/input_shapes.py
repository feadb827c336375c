"""Fix open dimensions of a model's inputs, and make a fixed batch dimension open."""

from __future__ import annotations

import difflib
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.core.errors import ModelError, SpecError, one_of, summary_line
from components.model.batch_probe import same_outputs
from components.model.keras_graph import replay
from components.model.keras_model import input_specs
from components.ranges.affine import Array

Specs = Mapping[str, tf.TensorSpec]
_FIELD = "baseline.input_shapes"


def wanted_specs(specs: Specs, shapes: Mapping[str, Sequence[int]]) -> dict[str, tf.TensorSpec]:
    """The inputs that a baseline must take: one example each, or any number of them, of the given shapes.

    Args:
        specs: The model's inputs by name.
        shapes: Input name -> shape of one example, without the batch. Inputs that are missing keep their shapes.

    Returns:
        The specs with these shapes. A batch of more than 1 is open.

    Raises:
        SpecError: There is no such input, or its shape has a different rank or a different fixed dimension.
    """
    for name, shape in shapes.items():
        if name not in specs:
            near = difflib.get_close_matches(name, list(specs), n=1, cutoff=0.4)
            raise SpecError(
                f"the model has no input {name!r}",
                where=_FIELD,
                bound=one_of(sorted(specs)),
                measured=name,
                remedy=f"name {near[0]!r}" if near else "choose one of these inputs",
            )
        if not specs[name].shape.is_compatible_with([None, *shape]):
            raise SpecError(
                f"the input {name!r} cannot have this shape",
                where=f"{_FIELD}.{name}",
                bound=f"sizes for the open dimensions of {specs[name].shape}, whose first is the batch",
                measured=list(shape),
                remedy="write the shape of one example, without the batch, and keep the fixed dimensions",
            )
    return {name: _wanted(spec, shapes.get(name)) for name, spec in specs.items()}


def _wanted(spec: tf.TensorSpec, shape: Sequence[int] | None) -> tf.TensorSpec:
    if spec.shape.rank is None:
        return spec if shape is None else tf.TensorSpec([None, *shape], spec.dtype, name=spec.name)
    if spec.shape.rank == 0:
        return spec
    batch = 1 if spec.shape[0] == 1 else None
    return tf.TensorSpec([batch, *(spec.shape[1:] if shape is None else shape)], spec.dtype, name=spec.name)


def with_plain_names(model: Any) -> Any:
    """A functional Keras model whose inputs have the names that they have in a SavedModel, `in_put` for `in.put`.

    In the names of a signature's arguments, TensorFlow replaces characters other than letters and digits, and it
    doesn't take Python's keywords. Inputs in a dict have the names of their Input layers instead of their keys. Nested
    outputs are in one dict or one list: `boxes_left` for `{"boxes": {"left": ...}}`.

    Args:
        model: A functional or Sequential model with inputs. It is returned unchanged if nothing must change.

    Raises:
        ModelError: Two inputs or two outputs would have the same name.
    """
    specs = input_specs(model)
    plain = [_plain(name) for name in specs]
    _refuse_equal("input", list(specs), plain)
    if plain != list(specs):
        inputs = [
            tf.keras.Input(batch_shape=s.shape, dtype=s.dtype, name=n)
            for n, s in zip(plain, specs.values(), strict=True)
        ]
        return _replayed(model, inputs)
    if _takes_names(model) and _is_flat(model.output):
        return model
    return tf.keras.Model(_alone(model.inputs), _packed(model, model.outputs), name=model.name)


def _plain(name: str) -> str:
    """Return a name as TensorFlow changes it, or one that it takes."""
    swapped = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)
    swapped = swapped if swapped[:1].isalpha() else f"arg_{swapped}"
    # The names are Python parameters, and `self` is one of TensorFlow's own.
    return f"{swapped}_" if keyword.iskeyword(swapped) or swapped == "self" else swapped


def _refuse_equal(kind: str, names: Sequence[str], plain: Sequence[str]) -> None:
    """Raise a ModelError if two names of inputs or outputs become equal."""
    equal = [name for name, changed in zip(names, plain, strict=True) if plain.count(changed) > 1]
    if equal:
        raise ModelError(
            f"two {kind}s of the model would have the same name",
            where=f"{kind} {', '.join(map(repr, equal))}",
            bound="names that differ in letters or digits, because TensorFlow replaces other characters with `_`",
            measured=", ".join(sorted({changed for changed in plain if plain.count(changed) > 1})),
            remedy=f"rename one of these {kind}s, and save the model again",
        )


def _takes_names(model: Any) -> bool:
    """Whether a model takes a tensor, a list of tensors, or a dict of tensors with the names of its Input layers."""
    if isinstance(model.input, dict):
        return list(input_specs(model)) == sorted(model.input)
    return _is_flat(model.input)


def _is_flat(structure: Any) -> bool:
    """Whether a structure is a tensor, or contains nothing but tensors."""
    return all(len(path) < 2 for path in _paths(structure))


def _replayed(model: Any, inputs: list[Any]) -> Any:
    outputs = replay(model, inputs, lambda node, args, kwargs: node.layer(*args, **kwargs))
    return tf.keras.Model(_alone(inputs), _packed(model, outputs), name=model.name)


def _alone(tensors: list[Any]) -> Any:
    return tensors if len(tensors) > 1 else tensors[0]


def _packed(model: Any, outputs: list[Any]) -> Any:
    """The outputs as the model returns them, but without nesting."""
    if not isinstance(model.output, dict):
        return outputs
    if _is_flat(model.output):
        return tf.nest.pack_sequence_as(model.output, outputs)
    paths = list(_paths(model.output))
    names = ["_".join(path) for path in paths]
    _refuse_equal("output", [".".join(path) for path in paths], names)
    return dict(zip(names, outputs, strict=True))


def _paths(structure: Any) -> Iterator[tuple[str, ...]]:
    """The keys that lead to each tensor, in the order of `tf.nest.flatten`."""
    if not isinstance(structure, dict | list | tuple):
        yield ()
        return
    items = sorted(structure.items()) if isinstance(structure, dict) else enumerate(structure)
    for key, value in items:
        for path in _paths(value):
            yield (str(key), *path)


def with_specs(model: Any, wanted: Specs, where: str) -> Any:
    """A functional Keras model that takes inputs of the requested shapes, with the layers of the given model.

    Args:
        model: A functional or Sequential model.
        wanted: From `wanted_specs`.
        where: A description of the model, for messages.

    Raises:
        ModelError: A layer doesn't take the shapes, or it computes something different for a different batch size.
    """
    specs = input_specs(model)
    if all(specs[name].shape.as_list() == spec.shape.as_list() for name, spec in wanted.items()):
        return model
    inputs = [tf.keras.Input(batch_shape=spec.shape, dtype=spec.dtype, name=name) for name, spec in wanted.items()]
    try:
        changed = _replayed(model, inputs)
    except Exception as error:
        raise _untakeable(error, where) from error
    # The new model names its outputs after the layers, like the given one.
    prove_rows(_keras_rows(model, list(specs)), _keras_rows(changed, list(specs)), specs, wanted, where)
    return changed


def _keras_rows(model: Any, names: Sequence[str]) -> Callable[[Mapping[str, Array]], list[Array]]:
    def run(inputs: Mapping[str, Array]) -> list[Array]:
        ordered = [inputs[name] for name in names]
        found = model(ordered if len(ordered) > 1 else ordered[0], training=False)
        return [np.asarray(value) for value in tf.nest.flatten(found)]

    return run


def prove_rows(
    original: Callable[[Mapping[str, Array]], list[Array]],
    changed: Callable[[Mapping[str, Array]], list[Array]],
    specs: Specs,
    wanted: Specs,
    where: str,
) -> None:
    """Verify that a model whose batch was opened computes each example like the original. Other models pass.

    Args:
        original, changed: Run both models on inputs by name, and return their outputs in the same order.
        specs, wanted: The inputs of both.
        where: A description of the model, for messages.

    Raises:
        ModelError: The changed model fails, or computes something else.
    """
    batches = {spec.shape[0] for spec in specs.values() if spec.shape.rank} - {None, 1}
    if not batches:
        return
    count, generator = max(batches), np.random.default_rng(0)
    inputs = {name: drawn(spec, count, generator) for name, spec in wanted.items()}
    expected = original(inputs)
    try:
        alone = [changed({name: values[row : row + 1] for name, values in inputs.items()}) for row in range(count)]
        twice = changed({name: np.concatenate([values, values]) for name, values in inputs.items()})
    except Exception as error:
        raise _fixed_batch(count, where, f"it fails: {summary_line(error)}") from error
    for index, values in enumerate(expected):
        rows = np.concatenate([each[index] for each in alone])
        if not (same_outputs(values, rows) and same_outputs(np.concatenate([values, values]), twice[index])):
            raise _fixed_batch(count, where, "it returns something else")


def drawn(spec: tf.TensorSpec, count: int, generator: np.random.Generator) -> Array:
    """Random values [count, ...] for an input."""
    shape = [count, *spec.shape[1:]]
    if spec.dtype.is_floating:
        return generator.standard_normal(shape).astype(spec.dtype.as_numpy_dtype)
    # Every vocabulary has the indices 0 and 1.
    return generator.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype)


def _fixed_batch(batch: int, where: str, measured: str) -> ModelError:
    return ModelError(
        f"the model only accepts a batch of {batch}, not single examples",
        where=where,
        bound="the same outputs for one example as in a batch",
        measured=f"{measured} for one example",
        remedy="build the model with an open batch (`Input(shape)` without `batch_size`, or a signature of shape "
        "[None, ...]), load the weights, and export it again",
    )


def _untakeable(error: Exception, where: str) -> ModelError:
    return ModelError(
        f"a layer does not take inputs of a different shape: {summary_line(error)}",
        where=where,
        bound="layers that accept any batch size and the shapes of `baseline.input_shapes`",
        remedy="correct `baseline.input_shapes`, or build the model with an open batch and with these shapes",
    )
