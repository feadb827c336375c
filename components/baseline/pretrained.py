"""Imports an existing float model into the layout of a baseline, with its Keras model if it has one."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.baseline.lambdas import imports_inside, refuse_code
from components.baseline.source import damaged_file, recognize
from components.core.errors import ModelError, summary_line
from components.facts.artifact_paths import REBUILT_FILE, SERVING_FOLDER, TFLITE_FILE
from components.model.keras3.facts import RebuiltFacts
from components.model.keras3.saved_file import refuse_hdf5_bomb
from components.model.keras_model import check_exportable, check_layers, export, input_specs, save_keras
from components.spec.baseline import PretrainedBaseline
from components.upstream.keras import run_as_written, unregistered_layers

if TYPE_CHECKING:
    from components.baseline.graphs import BaselineGraph

# The error of a function that takes any number of tensors, which a tf-keras file doesn't preserve.
_LOST_OPERANDS = re.compile(r"Got 0 inputs for equation")
# Keras' messages about a layer that several nested models share, whose weights are stored for only one of them.
_LOST_WEIGHTS = re.compile(
    r"Layer '(\S+)' expected \d+ variables, but received 0|Weight count mismatch for .*named (\S+)"
)
# Keras' message about a class that it doesn't know.
_UNKNOWN = re.compile(r"Unknown \w+: '?([\w.>]+)|Could not locate class '([\w.>]+)'")

# Wrappers of TensorFlow Model Optimization -> how to get the model without them.
_STRIP = {
    "PruneLowMagnitude": "strip them, `tfmot.sparsity.keras.strip_pruning(model)`, and save the result",
    "ClusterWeights": "strip them, `tfmot.clustering.keras.strip_clustering(model)`, and save the result",
    **dict.fromkeys(
        ("QuantizeAnnotate", "QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2"),
        "save the float model, as it was before quantize_annotate or quantize_model, and add a step `qat`",
    ),
}


def import_model(baseline: PretrainedBaseline, folder: Path) -> None:
    """Import a pretrained model into `folder` in the layout of a baseline.

    Raises:
        ModelError: The model cannot be loaded, converted, or evaluated.
        SpecError: `signature` or `input_shapes` doesn't fit the model.
    """
    path = Path(baseline.path)
    source = recognize(path, baseline.signature)
    if source.format == "tflite":
        from components.baseline.tflite import load_tflite

        load_tflite(baseline)
        (folder / SERVING_FOLDER).mkdir(parents=True)
        shutil.copyfile(path, folder / TFLITE_FILE)
        return
    if source.format == "keras":
        model, facts = _load(baseline)
        export(model, folder)
        save_keras(model, folder)
        if facts is not None:
            (folder / REBUILT_FILE).write_text(facts.model_dump_json(indent=2))
        return
    from components.baseline.graphs import load_graph, save_graph

    if source.trains and not baseline.trust_code:
        refuse_code(path)
    graph = load_graph(baseline)
    save_graph(graph, path, folder / SERVING_FOLDER)
    if source.trains and (layers := load_layers(baseline, graph).model) is not None:
        save_keras(layers, folder)


class SavedLayers(NamedTuple):
    """The Keras layers of a SavedModel.

    Attributes:
        model: A Keras model that computes what the signature computes; None if steps can't train the SavedModel.
        failure: Why they can't.
    """

    model: Any
    failure: ModelError | None


def load_layers(baseline: PretrainedBaseline, graph: BaselineGraph) -> SavedLayers:
    """Load the Keras layers of a SavedModel. If they can't be loaded, recipes without steps convert the signature.

    Args:
        baseline: A SavedModel with Keras layers.
        graph: Its signature.

    Raises:
        ModelError: The layers contain untrusted code.
        SpecError: `baseline.input_shapes` doesn't fit the inputs.
    """
    from components.baseline.layered import served_layers

    path = Path(baseline.path)
    if not baseline.trust_code:
        refuse_code(path)
        _refuse_imports(path)
    try:
        loaded = load_keras(baseline)
    except ModelError as error:
        return SavedLayers(None, error)
    if (model := served_layers(loaded, graph)) is not None:
        return SavedLayers(model, None)
    return SavedLayers(None, _unserved(baseline.path))


def _unserved(path: str) -> ModelError:
    return ModelError(
        "the step would train the SavedModel's Keras layers, but its signature computes something else",
        where=path,
        bound="a signature with the inputs, the outputs, and the values of the layers",
        measured="a signature of its own, for example one that also prepares inputs",
        remedy="use the Keras model itself (`model.save('model.keras')`), and prepare inputs in the task's decode; or "
        "remove the recipe's steps, because recipes without steps convert the signature",
    )


def load_keras(baseline: PretrainedBaseline, inputs: Any = None) -> Any:
    """Load a Keras model for inference. A model of Keras 3 is rebuilt in tf-keras, which takes a child process.

    Args:
        baseline: A file of Keras, or a SavedModel with Keras layers.
        inputs: A few decoded inputs to check a rebuilt model on, in addition to random ones.

    Raises:
        ModelError: The model contains untrusted code, or it cannot be loaded, converted, or evaluated.
        SpecError: `baseline.input_shapes` doesn't fit its inputs.
    """
    return _load(baseline, inputs)[0]


def _load(baseline: PretrainedBaseline, inputs: Any = None) -> tuple[Any, RebuiltFacts | None]:
    """Load a Keras model, with what was measured if it was rebuilt."""
    path, trust_code = Path(baseline.path), baseline.trust_code
    kind = recognize(path).kind
    _refuse_damage(path)
    if kind != "keras3":
        return _shaped(_load_keras2(path, trust_code), baseline), None
    from components.model.keras3.load import prove_file, rebuild_file

    if not trust_code:
        refuse_code(path)
    rebuilt = rebuild_file(path)
    model = _shaped(rebuilt.model, baseline)
    if not trust_code:
        _refuse_imports(path)
    return model, prove_file(path, rebuilt, inputs, trust_code=trust_code)


def _shaped(model: Any, baseline: PretrainedBaseline) -> Any:
    """Give the model the shapes that the pipeline file specifies, and check that it can be exported."""
    from components.model.float32 import in_float32
    from components.model.input_shapes import wanted_specs, with_plain_names, with_specs
    from components.model.plain_recurrent import with_plain_recurrent, without_state

    if getattr(model, "inputs", None):
        model = with_plain_names(without_state(model))
        # A SavedModel is converted from its graph, whose floats can't be changed.
        model = model if Path(baseline.path).is_dir() else in_float32(model)
    check_layers(model, baseline.path)
    run_as_written(model)
    shaped = with_specs(model, wanted_specs(input_specs(model), baseline.input_shapes), baseline.path)
    check_exportable(shaped, baseline.path)
    return with_plain_recurrent(shaped)


def _load_keras2(path: Path, trust_code: bool) -> Any:
    import tensorflow as tf

    if not trust_code:
        refuse_code(path)
        _refuse_imports(path)
    try:
        with _named_for_keras(path) as named:
            model = tf.keras.models.load_model(named, unregistered_layers(), compile=False, safe_mode=not trust_code)
    except Exception as error:
        if unknown := _UNKNOWN.search(str(error)):
            raise _not_registered(path, unknown.group(1) or unknown.group(2)) from error
        if _LOST_OPERANDS.search(str(error)):
            raise ModelError(
                "the file doesn't record which tensors its tf.einsum reads: tf-keras saves only the equation",
                where=str(path),
                bound="operations that take their tensors as named arguments",
                measured="tf.einsum",
                remedy="use tf.linalg.matmul, keras.layers.Dot, or keras.layers.EinsumDense, and save the model again; "
                "or save it with tf.saved_model.save, for recipes without steps",
            ) from error
        if lost := _LOST_WEIGHTS.search(str(error)):
            raise ModelError(
                "the file lacks weights: if several nested models share a layer, tf-keras stores its weights only once",
                where=str(path),
                bound="weights for every layer",
                measured=f"none of {lost.group(1) or lost.group(2)}",
                remedy="save the model as a SavedModel, `model.save('folder')`, and use that folder",
            ) from error
        raise ModelError(
            f"the model cannot be loaded: {type(error).__name__}: {summary_line(error)}",
            where=str(path),
            remedy="copy or save it again"
            if isinstance(error, OSError | KeyError | RuntimeError)
            else "register its custom layers with keras.utils.register_keras_serializable in the task's module; if the "
            "model has none, copy or save it again",
        ) from error
    return model


@contextmanager
def _named_for_keras(path: Path) -> Iterator[Path]:
    """A path with the suffix by which Keras recognizes its archives.

    Data versioning tools and caches store a file under a name without a suffix, and link to it.
    """
    if path.suffix == ".keras" or not zipfile.is_zipfile(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder, "model.keras")
        named.symlink_to(path.absolute())
        yield named


def _refuse_imports(path: Path) -> None:
    """Refuse a model whose loading imports Python objects that the task hasn't registered.

    Raises:
        ModelError: The model imports such objects.
    """
    import tensorflow as tf

    foreign = [one for one in imports_inside(path) if tf.keras.utils.get_registered_object(one.registered_name) is None]
    if foreign:
        raise ModelError(
            "loading the model imports Python objects that the task does not register",
            where=str(path),
            bound="objects of Keras, or objects that the task registers with keras.utils.register_keras_serializable",
            measured=", ".join(sorted({f"{one.module}.{one.name}" for one in foreign})),
            remedy=f"{_registration(foreign[0].registered_name, foreign[0].name)}, or set baseline.trust_code if you "
            "trust the author",
        )


def _not_registered(path: Path, name: str) -> ModelError:
    return ModelError(
        "the model has layers of classes that the task does not register",
        where=str(path),
        bound="layers of Keras, or classes that the task registers",
        measured=name,
        remedy=_registration(name, name),
    )


def _registration(registered: str, name: str) -> str:
    """How to register a class or function for a file that has its registered name, if it had one when it was saved."""
    package, separator, short = registered.rpartition(">")
    if short in _STRIP:
        return f"{short} is a wrapper of TensorFlow Model Optimization: {_STRIP[short]}"
    if separator:
        return (
            f"put `@tf.keras.utils.register_keras_serializable({package!r})` above `class {short}` in the task's module"
        )
    return (
        f"put `tf.keras.utils.get_custom_objects()[{name!r}] = {name}` below the class in the task's module; a .keras "
        "file must be saved again after registration with `@tf.keras.utils.register_keras_serializable('my_package')`"
    )


def _refuse_damage(path: Path) -> None:
    """Verify an archive's checksums, which Keras doesn't check when it reads weights, and the sizes of its weights.

    Raises:
        ModelError: The file is damaged, or its weights expand to far more bytes than it stores.
    """
    if path.is_dir():
        return
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (member := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"Bad CRC-32 for file {member!r}")
                if not {"model.weights.h5", "model.weights.npz"} & set(archive.namelist()):
                    raise zipfile.BadZipFile("there is no model.weights.h5 in it")
        refuse_hdf5_bomb(path)
    except ModelError:
        raise
    except Exception as error:
        raise damaged_file(path, error) from error
