"""Finds casts from integers or masks to floats inside a model, which prevent full-integer conversion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from components.core.errors import ModelError, some_of
from components.model.keras_model import input_specs
from components.spec.recipe import Recipe
from components.spec.scheme import Scheme

# Results that depend only on sizes are constants in a file with fixed shapes.
_OF_SIZES = ("Shape", "ShapeN", "Size", "Rank")


def check_integers(recipes: Sequence[Recipe], model: Any) -> None:
    """Check that a Keras model casts no computed value to float, if a recipe requires integers only.

    TensorFlow's converter has no integer CAST. After a cast of `uint8` or `bool` inputs, or of the mask of `mask_zero`,
    a float tensor remains, as does an input of `float64`. The candidate would be refused only after all training.

    Raises:
        ModelError: The model has such a cast. The message names the recipe and the operators.
    """
    asked = next(((index, recipe) for index, recipe in enumerate(recipes) if _takes_no_floats(recipe.scheme)), None)
    if asked is None:
        return
    casts = _casts(model)
    if not casts:
        return
    index, recipe = asked
    wide = all(cast.inputs[0].dtype.is_floating for cast in casts)
    masked = any(cast.inputs[0].dtype.name == "bool" for cast in casts)
    raise ModelError(
        f"the model {'takes float64' if wide else 'casts integers or booleans to floats internally'}, which an "
        "integer-only file can't contain",
        where=f"recipes[{index}] ({recipe.name}): {some_of((cast.name for cast in casts), 3)}",
        bound="inputs of float32, or integers that are indices of an Embedding" + (", and no masks" if masked else ""),
        measured=", ".join(sorted({f"{cast.inputs[0].dtype.name} to {cast.outputs[0].dtype.name}" for cast in casts})),
        remedy=("remove Masking layers and mask_zero and train on padded sequences as they are; " if masked else "")
        + "give the model an Input of float32 and cast in the task's decode, or add `float_fallback: true`",
    )


def _takes_no_floats(scheme: Scheme) -> bool:
    return scheme.is_static and not getattr(scheme, "float_fallback", False)


def _casts(model: Any) -> list[Any]:
    """List the operators that cast values that are not float32, and that depend on the inputs, to float."""
    import tensorflow as tf

    specs = [tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name=name) for name, spec in input_specs(model).items()]

    @tf.function(autograph=False)
    def run(*inputs: tf.Tensor) -> Any:
        return model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    graph = run.get_concrete_function(*specs).graph
    inputs = {tensor.op.name for tensor in graph.inputs[: len(specs)]}
    # Unused results, such as a mask that no layer reads, aren't in the file.
    return [
        operator
        for operator in _behind(graph.outputs)
        if operator.type == "Cast"
        and operator.outputs[0].dtype.is_floating
        and operator.inputs[0].dtype not in (tf.float32, operator.outputs[0].dtype)
        and any(source.name in inputs for source in _behind(operator.inputs))
    ]


def _behind(tensors: Iterable[Any]) -> list[Any]:
    """List the operators that compute the tensors."""
    found: dict[str, Any] = {}
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        one = waiting.pop()
        if one.name not in found and one.type not in _OF_SIZES:
            found[one.name] = one
            waiting.extend(tensor.op for tensor in one.inputs)
    return list(found.values())
