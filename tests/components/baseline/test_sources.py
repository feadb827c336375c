"""SavedModels of all kinds as baselines: with and without Keras layers, their signatures, shapes, and batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

from components.baseline.pretrained import import_model, load_keras
from components.baseline.source import recognize
from components.convert.tensorflow.converter import convert
from components.core.errors import ModelError, SpecError
from components.facts.artifact_paths import KERAS_FILE, SERVING_FOLDER
from components.model.keras_model import load_kept, output_names
from components.model.saved_model import load_serving, run_serving
from components.spec.recipe import Recipe
from components.spec.scheme import Float32, Scheme
from components.spec.schemes.static import StaticWi8Ai8
from pipelines.checks.model_check import check_pretrained
from pipelines.checks.recipe_check import check_recipes
from tests.artifacts import pretrained

layers = tf.keras.layers
PRUNE = {"kind": "prune", "sparsity": 0.5, "epochs": 1, "schedule": {"kind": "constant"}}


class CompiledTask:
    """A task that compiles any model."""

    def feature_spec(self) -> dict[str, Any]:
        return {}

    def decode(self, features: Any) -> Any:
        return features

    def compile(self, model: Any) -> None:
        model.compile("sgd", "mse")


class Subclassed(tf.keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.final = layers.Dense(40, "relu"), layers.Dense(3)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        return self.final(self.hidden(values))


def functional(shape: list[int | None], batch: int | None = None) -> tf.keras.Model:
    image = tf.keras.Input(shape, batch, name="image")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same", activation="relu")(image))
    return tf.keras.Model(image, layers.Dense(3, name="scores")(pooled))


def as_before_2_5(folder: Path) -> None:
    """Keep the configs of layers where TensorFlow before 2.5 kept them."""
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for node in SavedMetadata.FromString((folder / "keras_metadata.pb").read_bytes()).nodes:
        saved.meta_graphs[0].object_graph_def.nodes[node.node_id].user_object.metadata = node.metadata
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    (folder / "keras_metadata.pb").unlink()


def save_module(
    function: Callable[..., Any], specs: dict[str, list[int | None]], folder: Path, held: Any = None
) -> None:
    module = tf.Module()
    module.held = held
    traced = tf.function(function).get_concrete_function(
        **{name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in specs.items()}
    )
    doubled = tf.function(lambda image: {"doubled": image * 2.0}).get_concrete_function(
        tf.TensorSpec([None, 2], tf.float32, name="image")
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": traced, "doubled": doubled})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tf.keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("saved")
    model = functional([None, None, 1])
    for name in ("layered", "old"):
        model.save(folder / name)
    as_before_2_5(folder / "old")
    model.save(folder / "open.keras")
    model.export(str(folder / "exported"))
    subclassed = Subclassed()
    subclassed(np.zeros([1, 30], np.float32))
    for name in ("subclassed", "old_subclassed"):
        subclassed.save(folder / name)
    as_before_2_5(folder / "old_subclassed")
    save_module(lambda image: {"scores": model(image)}, {"image": [None, None, None, 1]}, folder / "module", model)
    fixed = functional([6, 6, 1], batch=4)
    fixed.save(folder / "fixed.keras")
    save_module(lambda image: {"scores": fixed(image)}, {"image": [4, 6, 6, 1]}, folder / "fixed", fixed)
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("layered", "layered"),
        ("old", "layered"),
        ("subclassed", "subclassed"),
        ("old_subclassed", "subclassed"),
        ("exported", "graph"),
        ("module", "graph"),
        ("fixed.keras", "keras"),
    ],
)
def test_kind_is_told_without_tensorflow(saved: Path, name: str, kind: str) -> None:
    assert recognize(saved / name).kind == kind


def imported(folder: Path, path: Path, **settings: Any) -> Path:
    import_model(pretrained(path, **settings), folder)
    return folder


def served(folder: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    _held, signature = load_serving(folder / SERVING_FOLDER)
    return run_serving(signature, inputs)


def interpreted(content: bytes, name: str, examples: np.ndarray) -> np.ndarray:
    """What a plain loop of TensorFlow's interpreter returns for the only output, dequantized."""
    interpreter = tf.lite.Interpreter(model_content=content)
    run = interpreter.get_signature_runner()
    (details,) = run.get_output_details().values()
    given = run.get_input_details()[name]
    scale, zero = given["quantization"]
    if scale:
        limits = np.iinfo(given["dtype"])
        examples = np.clip(np.rint(examples / scale) + zero, limits.min, limits.max).astype(given["dtype"])
    rows = [next(iter(run(**{name: row[None]}).values())) for row in examples]
    scale, zero = details["quantization"]
    return (
        np.concatenate(rows).astype(np.float32)
        if not scale
        else (np.concatenate(rows).astype(np.float32) - zero) * scale
    )


def test_saved_model_from_before_2_5_keeps_its_layers(saved: Path, tmp_path: Path) -> None:
    baseline = pretrained(saved / "old", input_shapes={"image": [8, 8, 1]})
    assert [type(layer).__name__ for layer in load_keras(baseline).layers] == [
        "InputLayer", "Conv2D", "GlobalAveragePooling2D", "Dense",
    ]  # fmt: skip
    import_model(baseline, tmp_path)
    images = np.random.default_rng(0).random([5, 8, 8, 1], np.float32)
    expected = tf.keras.models.load_model(saved / "layered", compile=False)(images)
    (found,) = served(tmp_path, image=images).values()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(load_kept(tmp_path)(images), expected, atol=1e-6)


def by_name() -> tf.keras.Model:
    """A model that returns a dict, whose keys aren't names of its layers."""
    image = tf.keras.Input([3], name="image")
    return tf.keras.Model(image, {"b": layers.Dense(2, name="x")(image), "a": layers.Dense(2, name="y")(image)})


def test_kept_layers_have_the_names_of_the_signature(tmp_path: Path) -> None:
    model = by_name()
    model.save(tmp_path / "saved")
    imported(tmp_path / "imported", tmp_path / "saved")
    kept, images = load_kept(tmp_path / "imported"), np.random.default_rng(0).random([4, 3], np.float32)
    found = served(tmp_path / "imported", image=images)
    assert set(output_names(kept)) == set(found) == {"x", "y"}
    for name, values in zip(output_names(kept), tf.nest.flatten(kept(images)), strict=True):
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    assert set(check_pretrained(pretrained(tmp_path / "saved"), {"image": images}).shapes) == {"x", "y"}


@pytest.mark.parametrize("prepared", [False, True])
def test_layers_do_not_stand_for_a_signature_that_computes_something_else(tmp_path: Path, prepared: bool) -> None:
    model = by_name()
    spec = tf.TensorSpec([None, 3], tf.float32, name="image")
    serve = tf.function(lambda image: model(image / 255.0 if prepared else image), input_signature=[spec])
    model.save(tmp_path / "saved", signatures={"serving_default": serve})
    imported(tmp_path / "imported", tmp_path / "saved")
    assert (tmp_path / "imported" / KERAS_FILE).exists() is not prepared
    built = check_pretrained(pretrained(tmp_path / "saved"), {"image": np.ones([4, 3], np.float32)})
    assert (set(built.shapes), built.untrained is not None) == ({"a", "b"}, prepared)
    trains = Recipe.model_validate({"name": "r", "scheme": "float32", "steps": [PRUNE]})
    refused = check_recipes((trains, Recipe(name="plain", scheme=Float32())), CompiledTask(), built).refused
    assert set(refused) == ({"r"} if prepared else set())
    if prepared:
        assert "its signature computes something else" in str(refused["r"][0])


def test_saved_model_whose_layers_cannot_be_loaded_is_converted_from_its_graph(tmp_path: Path) -> None:
    series = tf.keras.Input([4, 3], name="series")
    tf.keras.Model(series, tf.einsum("btc,bsc->bts", series, layers.Dense(3)(series))).save(tmp_path / "saved")
    imported(tmp_path / "imported", tmp_path / "saved")
    assert not (tmp_path / "imported" / KERAS_FILE).exists()
    built = check_pretrained(pretrained(tmp_path / "saved"), {"series": np.ones([4, 4, 3], np.float32)})
    trains = Recipe.model_validate({"name": "r", "scheme": "float32", "steps": [PRUNE]})
    refused = check_recipes((trains, Recipe(name="plain", scheme=Float32())), CompiledTask(), built).refused
    assert [str(error) for error in refused.pop("r") if "which tensors its tf.einsum reads" in str(error)]
    assert not refused


@pytest.mark.parametrize("scheme", [Float32(), StaticWi8Ai8()])
def test_operation_of_a_graph_without_an_operator_is_named_before_work(tmp_path: Path, scheme: Scheme) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([3, 4], tf.float16))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float16, name="vector")])
    def serve(vector: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.nn.relu(vector @ module.kernel)}

    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": serve})
    built = check_pretrained(pretrained(tmp_path / "saved"), {"vector": np.ones([4, 3], np.float16)})
    (error,) = check_recipes((Recipe(name="r", scheme=scheme),), CompiledTask(), built).refused["r"]
    assert "no operator for MatMul of float16, Relu of float16" in str(error)
    assert error.remedy.startswith("compute them in float32")


def test_code_in_a_saved_model_from_before_2_5_is_refused(tmp_path: Path) -> None:
    tf.keras.Sequential([tf.keras.Input([3]), layers.Lambda(lambda x: x * 2, name="twice")]).save(tmp_path / "old")
    as_before_2_5(tmp_path / "old")
    with pytest.raises(ModelError, match=r"contains Python code.*found: layer 'twice'\)"):
        load_keras(pretrained(tmp_path / "old"))


@pytest.mark.parametrize("name", ["subclassed", "old_subclassed"])
def test_subclassed_model_converts_without_its_layers(saved: Path, tmp_path: Path, name: str) -> None:
    imported(tmp_path, saved / name)
    assert not (tmp_path / KERAS_FILE).exists()
    rows = np.random.default_rng(0).standard_normal([6, 30]).astype(np.float32)
    (expected,) = served(tmp_path, input_1=rows).values()
    samples = [{"input_1": row[None]} for row in rows]
    for scheme, most in ((Float32(), 1e-5), (StaticWi8Ai8(), 0.05)):
        found = interpreted(convert(tmp_path / SERVING_FOLDER, scheme, lambda: iter(samples)), "input_1", rows)
        assert np.abs(found - expected).max() <= most * np.abs(expected).max()


def test_chosen_signature_is_the_model(saved: Path, tmp_path: Path) -> None:
    imported(tmp_path, saved / "module", signature="doubled")
    assert served(tmp_path, image=np.ones([3, 2], np.float32))["doubled"].tolist() == [[2, 2]] * 3
    assert recognize(saved / "layered", "doubled").kind == "graph"


def test_signature_that_does_not_exist_is_refused_with_the_nearest(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"lacks the signature 'double' .*expected: one of doubled, serving_default;"
    ) as caught:
        imported(tmp_path, saved / "module", signature="double")
    assert caught.value.remedy == "choose one in the pipeline file: `baseline: {signature: doubled}`"
    with pytest.raises(ModelError, match="a file of tf-keras has no signatures to choose from"):
        imported(tmp_path, saved / "fixed.keras", signature="doubled")


@pytest.mark.parametrize("name", ["open.keras", "layered", "exported", "module"])
def test_open_dimensions_are_fixed_by_the_pipeline_file(saved: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no fixed size per example.*input_shapes: \{image: \[SIZE, SIZE, 1\]\}"):
        imported(tmp_path / "open", saved / name)
    imported(tmp_path, saved / name, input_shapes={"image": [7, 9, 1]})
    images = np.random.default_rng(0).random([5, 7, 9, 1], np.float32)
    expected = np.asarray(tf.keras.models.load_model(saved / "open.keras", compile=False)(images))
    (found,) = served(tmp_path, image=images).values()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    content = convert(tmp_path / SERVING_FOLDER, Float32(), None)
    np.testing.assert_allclose(interpreted(content, "image", images), expected, atol=1e-5)
    if name in ("open.keras", "layered"):
        assert load_kept(tmp_path).inputs[0].shape.as_list() == [None, 7, 9, 1]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"images": [7, 9, 1]}, r"no input 'images' \(expected: image; found: images\). Remedy: name 'image'"),
        ({"image": [7, 9, 3]}, r"image: the input 'image' cannot have .*open dimensions of \(None, None, None, 1\)"),
        (
            {"image": [1, 7, 9, 1]},
            r"found: \[1, 7, 9, 1\]\). Remedy: write the shape of one example, without the batch",
        ),
    ],
)
def test_shape_that_the_input_cannot_have_is_refused(
    saved: Path, tmp_path: Path, shapes: dict[str, Any], message: str
) -> None:
    for name in ("open.keras", "module"):
        with pytest.raises(SpecError, match=f"baseline.input_shapes.*{message}"):
            imported(tmp_path, saved / name, input_shapes=shapes)


@pytest.mark.parametrize("name", ["fixed.keras", "fixed"])
def test_fixed_batch_is_opened_to_the_same_outputs(saved: Path, tmp_path: Path, name: str) -> None:
    imported(tmp_path, saved / name)
    images = np.random.default_rng(0).random([8, 6, 6, 1], np.float32)
    model = tf.keras.models.load_model(saved / "fixed.keras", compile=False)
    expected = np.concatenate([model(images[:4]), model(images[4:])])
    (found,) = served(tmp_path, image=images).values()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    content = convert(tmp_path / SERVING_FOLDER, Float32(), None)
    np.testing.assert_allclose(interpreted(content, "image", images), expected, atol=1e-5)


def test_batch_that_the_graph_depends_on_is_refused(tmp_path: Path) -> None:
    specs: dict[str, list[int | None]] = {"values": [4, 6]}
    save_module(lambda values: {"sums": tf.reduce_sum(tf.matmul(tf.eye(4), values), 1)}, specs, tmp_path / "shaped")
    with pytest.raises(ModelError, match="only accepts a batch of 4, not single examples") as caught:
        imported(tmp_path, tmp_path / "shaped")
    assert "build the model with an open batch" in caught.value.remedy
    # It runs with any batch, but its examples influence each other.
    save_module(lambda values: {"rows": values - tf.reduce_mean(values, 0)}, specs, tmp_path / "mixed")
    with pytest.raises(ModelError, match="found: it returns something else for one example"):
        imported(tmp_path, tmp_path / "mixed")
