"""Load, check, and run a signature of a SavedModel."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.core.errors import DataError, ModelError, one_of, summary_line
from components.facts.artifact_paths import SIGNATURE
from components.upstream.keras import fuse_nothing, runs_as_written

# Examples per call. The activations of a larger batch can take gigabytes.
CHUNK = 256

LOOPS = frozenset({"While", "StatelessWhile"})

_ASSIGNMENTS = re.compile(r"Assign.*Variable|ResourceScatter|ResourceApply|ResourceSparseApply")


def load_serving(folder: Path, name: str = SIGNATURE) -> tuple[Any, Any]:
    """A SavedModel and one of its signatures. Keep a reference to the model while you use the signature.

    Raises:
        ModelError: The SavedModel cannot be loaded, or lacks the signature.
    """
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:
        # A damaged folder raises OSError, DecodeError, KeyError, or TensorFlow's own errors.
        raise ModelError(
            f"the SavedModel cannot be loaded: {summary_line(error)}",
            where=str(folder),
            remedy="train or export it again",
        ) from error
    if name not in model.signatures:
        raise _no_signature(folder, name, sorted(model.signatures))
    signature = model.signatures[name]
    if runs_as_written(operations_of(signature)):
        # TensorFlow can't run all of its own fusions.
        fuse_nothing()
    return model, signature


def owner_of(function: Any, model: Any) -> Any:
    """An object that owns the variables that a concrete function of a model reads, for saving the function alone.

    The model has more: its other functions, and after training the variables that only training reads. Saving a
    variable takes milliseconds.

    Returns:
        A module with the variables that the function reads; the model if it reads something else, such as a table.
    """
    read = {id(one) for one in function.captured_inputs}
    variables = variables_among(tf.train.TrackableView(model).descendants(), read)
    if len(variables) < len(read):
        return model
    owner = tf.Module()
    owner.held = variables
    return owner


def variables_among(objects: Iterable[Any], handles: Container[int]) -> list[Any]:
    """The variables among these objects whose handles have these ids."""
    return [one for one in objects if isinstance(one, tf.Variable) and id(one.handle) in handles]


def _no_signature(folder: Path, name: str, others: list[str]) -> ModelError:
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.4) or others[:1]
    return ModelError(
        f"the SavedModel lacks the signature {name!r}",
        where=str(folder),
        bound=one_of(others) if others else "a function that was traced for some inputs",
        measured=name if others else "no signature",
        remedy=f"choose one in the pipeline file: `baseline: {{signature: {near[0]}}}`"
        if others
        else "it was saved without a traced function: save the Keras model with `model.export(folder)`, or a module "
        "with `tf.saved_model.save(module, folder, signatures={'serving_default': its tf.function})`",
    )


def check_serving(signature: Any, where: str) -> None:
    """Check that a signature can be converted and evaluated.

    Raises:
        ModelError: The signature keeps state, takes strings, has an invalid dynamic or fixed dimension, or returns a
            single number for all examples.
    """
    check_signature(signature.structured_input_signature[1], where)
    if scalars := [name for name, spec in signature.structured_outputs.items() if spec.shape.rank == 0]:
        raise ModelError(
            "the model returns one number for the whole batch",
            where=f"{where}, output {', '.join(scalars)}",
            bound="outputs whose first dimension is the batch",
            measured="shape ()",
            remedy="return one number per example: reduce all axes but the first, or add `[tf.newaxis]` if the batch "
            "is 1; and export the signature again",
        )
    refuse_state(signature, where)


def check_signature(inputs: Mapping[str, tf.TensorSpec], where: str) -> None:
    """Check that a model takes decoded inputs of a fixed size per example.

    Raises:
        ModelError: It takes strings, or its inputs have no fixed size per example.
    """
    strings = [name for name, spec in inputs.items() if spec.dtype == tf.string]
    if strings:
        raise ModelError(
            "the model takes strings, not decoded inputs",
            where=f"{where}, input {', '.join(strings)}",
            bound="numeric inputs, as the task's decode returns them",
            measured="string",
            remedy="export a signature that starts after parsing, or choose one with `baseline.signature`, and leave "
            "decoding to the task",
        )
    for name, spec in inputs.items():
        with_batch_of_one(name, spec, where)


def refuse_state(signature: Any, where: str) -> None:
    """Raise a ModelError if a signature assigns variables: its outputs would depend on earlier calls."""
    graph = signature.graph.as_graph_def()
    functions = (node for function in graph.library.function for node in function.node_def)
    assigning = sorted({node.op for node in (*graph.node, *functions) if _ASSIGNMENTS.match(node.op)})
    if assigning:
        raise ModelError(
            "the model keeps state between invocations: serving it assigns variables",
            where=where,
            bound="a signature that only reads variables",
            measured=", ".join(assigning),
            remedy="build it stateless (`stateful=False`), or make the state an input and an output",
        )


def operations_of(signature: Any) -> frozenset[str]:
    """The kinds of TensorFlow operations in a signature and in the functions that it calls.

    Loops inside an LSTM of tf-keras are missing, because the converter replaces the LSTM with a fused operator.
    """
    graph = signature.graph.as_graph_def()
    found = {node.op for node in graph.node}
    for function in graph.library.function:
        fused = function.attr["api_implements"].s.startswith(b"lstm")
        found |= {node.op for node in function.node_def} - (LOOPS if fused else frozenset())
    return frozenset(found)


def final_operator(signature: Any, output: str) -> str:
    """TensorFlow's name of the operator that computes an output, such as `Softmax`; "" if it is not found."""
    graph = signature.graph.as_graph_def()
    functions = {function.signature.name: function for function in graph.library.function}
    nodes = {node.name: node for node in graph.node}
    # The tensors of a signature are in the order of the names of its outputs.
    tensor = dict(zip(sorted(signature.structured_outputs), signature.outputs, strict=True))[output]
    name, index = tensor.op.name, tensor.value_index
    # Each step moves back by one node or into a function. Only loops make cycles in a graph.
    for _ in range(1000):
        node = nodes.get(name)
        if node is None:
            return ""
        if node.op in ("PartitionedCall", "StatefulPartitionedCall") and node.attr["f"].func.name in functions:
            function = functions[node.attr["f"].func.name]
            nodes = {each.name: each for each in function.node_def}
            source = function.ret[function.signature.output_arg[index].name]
        elif node.op in ("Identity", "IdentityN", "Reshape", "Squeeze", "Cast", "EnsureShape", "StopGradient"):
            source = node.input[index if node.op == "IdentityN" else 0]
        else:
            return str(node.op)
        # The source is `node` or `node:0` in a graph, and `node:output:0` in a function.
        name, *place = source.split(":")
        index = int(place[-1]) if place else 0
    return ""


def with_batch_of_one(name: str, spec: tf.TensorSpec, where: str) -> tf.TensorSpec:
    """The spec of an input for one example; raises a ModelError unless every dimension but the batch is fixed."""
    shape = spec.shape.as_list() if spec.shape.rank is not None else None
    if not shape or shape[0] not in {None, 1} or None in shape[1:]:
        sizes = "..." if not shape else ", ".join("SIZE" if size is None else str(size) for size in shape[1:])
        raise ModelError(
            f"the input {name!r} has no fixed size per example",
            where=where,
            bound="an open batch as first dimension, every other dimension fixed",
            measured=f"shape {spec.shape}",
            remedy="give the model's Input a full shape, because TFLite files for small devices have static shapes; "
            f"for a pretrained model, set it in the pipeline file: `baseline: {{input_shapes: {{{name}: [{sizes}]}}}}`",
        )
    return tf.TensorSpec([1, *shape[1:]], spec.dtype, name=name)


def by_input_name(inputs: Mapping[str, Any], specs: Mapping[str, tf.TensorSpec]) -> Mapping[str, Any]:
    """Decoded inputs by the model's input names. The name "" stands for the only input of a model.

    Raises:
        DataError: The names or shapes differ from the model's inputs.
    """
    named = {next(iter(specs)): inputs[""]} if set(inputs) == {""} and len(specs) == 1 else inputs
    if set(named) != set(specs) or any(
        not spec.shape[1:].is_compatible_with(named[name].shape[1:]) for name, spec in specs.items()
    ):
        raise DataError(
            "the decoded inputs do not match the model's inputs",
            where="model inputs",
            bound=", ".join(f"{name} {spec.shape}" for name, spec in sorted(specs.items())),
            measured=", ".join(f"{name} {values.shape}".strip() for name, values in sorted(named.items())),
            remedy="make the task's decode() return exactly the model's inputs, with their names and shapes",
        )
    return named


def check_takes(run: Callable[[], Any], specs: Mapping[str, tf.TensorSpec], inputs: Any) -> None:
    """Check that a model accepts the task's decoded inputs for a few examples, on which `run` runs it.

    Raises:
        DataError: Names or shapes differ.
        ModelError: The model fails on these inputs.
    """
    by_input_name(inputs if isinstance(inputs, Mapping) else {"": inputs}, specs)
    try:
        run()
    except Exception as error:
        raise ModelError(
            f"the model cannot run on the output of decode: {summary_line(error)}",
            where="task",
            remedy="run the model on one decoded example, and make decode and the model agree",
        ) from error


def run_serving(signature: Any, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Run N examples in chunks, or one by one if the signature's batch is fixed to 1.

    Args:
        signature: A signature that `check_serving` accepts.
        inputs: Input name -> array [N, ...], cast to the signature's dtypes.

    Returns:
        Output name -> array [N, ...].

    Raises:
        DataError: The names or shapes differ from the signature's inputs.
    """
    specs = signature.structured_input_signature[1]
    named = by_input_name(inputs, specs)
    single = any(spec.shape[0] == 1 for spec in specs.values())
    step = 1 if single else CHUNK
    count = len(next(iter(named.values())))
    results: list[dict[str, npt.NDArray[Any]]] = []
    for start in range(0, count, step):
        part = {name: tf.cast(values[start : start + step], specs[name].dtype) for name, values in named.items()}
        results.append({name: np.asarray(values) for name, values in signature(**part).items()})
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
