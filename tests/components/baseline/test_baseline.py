import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Model

from components.baseline.component import PretrainedModel
from components.baseline.lambdas import code_inside
from components.baseline.pretrained import import_model, load_keras
from components.baseline.source import recognize
from components.baseline.trained import train
from components.core.errors import DataError, ModelError, SpecError
from components.data import training_data
from components.data.examples import ExampleDecoder
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import check_trains_on, export, load_kept
from components.spec.baseline import TrainedBaseline
from pipelines.file.user_folders import make_importable
from tests.artifacts import pretrained
from tests.small_pipeline import TASK, SmallPipeline, serialize


@pytest.fixture(scope="module")
def model() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(1)
    first, second = tf.keras.Input([3], name="first"), tf.keras.Input([2], name="second")
    joined = tf.keras.layers.Concatenate()([first, second])
    return tf.keras.Model([first, second], tf.keras.layers.Dense(4, name="scores")(joined))


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "saved"])
def test_pretrained_model_predicts_the_same_after_import(tmp_path: Path, model: tf.keras.Model, file: str) -> None:
    if file == "saved":
        model.export(str(tmp_path / file))
    else:
        model.save(tmp_path / file)
    assert recognize(tmp_path / file).kind == ("graph" if file == "saved" else "keras")
    import_model(pretrained(tmp_path / file), tmp_path / "baseline")
    serve = tf.saved_model.load(str(tmp_path / "baseline" / SERVING_FOLDER)).signatures["serving_default"]
    first, second = np.ones([5, 3], np.float32), np.arange(10, dtype=np.float32).reshape(5, 2)
    if file == "saved":
        (result,) = serve(first=first, second=second).values()
    else:
        assert set(serve.structured_input_signature[1]) == {"first", "second"}
        result = serve(first=first, second=second)["scores"]
    np.testing.assert_allclose(result, model([first, second]), rtol=1e-6)


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "saved"])
def test_lambda_is_refused_by_name_before_it_executes_and_loaded_where_code_is_trusted(
    tmp_path: Path, file: str
) -> None:
    mark = tmp_path / "executed"

    def double(x: tf.Tensor, name: str = str(mark)) -> tf.Tensor:
        import pathlib

        pathlib.Path(name).touch()
        return x * 2

    inner = tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Lambda(double, name="doubled")], name="inner")
    outer = tf.keras.Sequential([tf.keras.Input([3]), inner, tf.keras.layers.Dense(2)])
    outer.save(tmp_path / file)
    mark.unlink()
    refused = r"contains Python code.*trust_code: true.*found: layer 'doubled'\)"
    with pytest.raises(ModelError, match=refused):
        import_model(pretrained(tmp_path / file), tmp_path / "baseline")
    with pytest.raises(ModelError, match=refused):
        load_keras(pretrained(tmp_path / file))
    assert not mark.exists()
    import_model(pretrained(tmp_path / file, trust_code=True), tmp_path / "baseline")
    mark.unlink()
    # Steps that train the model load what was imported.
    kept = load_kept(tmp_path / "baseline")
    np.testing.assert_allclose(kept(np.ones([1, 3])), outer(np.ones([1, 3])), rtol=1e-6)
    assert mark.exists()
    check_trains_on(kept)


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "marking", "class_name": "Layer", "registered_name": None},
        {"module": "marking", "class_name": "Layer", "registered_name": "Other>Layer"},
        {"module": "marking", "class_name": "function", "config": "layer", "registered_name": "layer"},
        {"module": "os", "class_name": "system", "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
        {"module": "keras.utils", "class_name": "get_file", "registered_name": None},
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": None},
    ],
    ids=lambda layer: f"{layer['module']}.{layer.get('config', layer['class_name'])}",
)
def test_module_that_a_config_names_is_not_imported(
    tmp_path: Path, layer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "marking.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Dense(2)]).save(tmp_path / "whole.keras")
    with (
        zipfile.ZipFile(tmp_path / "whole.keras") as whole,
        zipfile.ZipFile(tmp_path / "model.keras", "w") as changed,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] |= layer
                content = json.dumps(config).encode()
            changed.writestr(name, content)
    found = f"{layer['module']}.{layer['config'] if layer['class_name'] == 'function' else layer['class_name']}"
    with pytest.raises(ModelError, match=rf"imports Python objects that the task does not register.*found: {found}\)"):
        load_keras(pretrained(tmp_path / "model.keras"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        ("TFOpLambda", "io.write_file"),
        ("TFOpLambda", "compat.v1.write_file"),
        ("TFOpLambda", "raw_ops.WriteFile"),
        ("TFOpLambda", "load_op_library"),
        ("TFOpLambda", "keras.models.load_model"),
        ("SlicingOpLambda", "io.write_file"),
        ("ClassMethod", "keras.layers.Lambda"),
    ],
)
def test_layer_that_calls_more_than_computations_is_refused_before_it_is_called(
    tmp_path: Path, layer: str, function: str
) -> None:
    image = tf.keras.Input([3])
    tf.keras.Model(image, tf.keras.layers.Dense(2)(image)).save(tmp_path / "model.h5")
    written, field = tmp_path / "written", "cls_symbol" if layer == "ClassMethod" else "function"
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"].append(
            {
                "class_name": layer,
                "name": "writer",
                "config": {"name": "writer", field: function},
                # Loading calls a layer whose arguments are all constants.
                "inbound_nodes": [["_CONSTANT_VALUE", -1, str(written), {"contents": "x"}]],
            }
        )
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=rf"found: layer 'writer' \(calls {function}\)\)"):
        load_keras(pretrained(tmp_path / "model.h5"))
    assert not written.exists()


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("operator", ["WriteFile", "EagerPyFunc", "Relu", "LogSoftmax"])
def test_layer_of_one_operator_is_code_unless_it_only_computes(tmp_path: Path, operator: str, as_text: bool) -> None:
    # NodeDef's fields 1 and 2, its name and its operator, as text of its bytes or as JSON.
    text = f"\n\x02op\x12{chr(len(operator))}{operator}"
    node = text if as_text else {"name": "op", "op": operator}
    layer = {"class_name": "TensorFlowOpLayer", "config": {"name": "op", "node_def": node, "constants": {}}}
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [layer]}})
    computes = operator in {"Relu", "LogSoftmax"}
    assert code_inside(tmp_path / "model.h5") == (() if computes else (f"op (calls {operator})",))


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
def test_operations_on_tensors_need_no_trust(tmp_path: Path, file: str) -> None:
    image = tf.keras.Input([4, 4, 3])
    x = tf.image.resize(tf.pad(image[:, :2], [[0, 0], [0, 2], [0, 0], [0, 0]]), [8, 8])
    x = tf.reduce_mean(tf.transpose(tf.cast(x, tf.float32) / 255.0 - 1.0, [0, 2, 1, 3]), axis=[1, 2])
    x = tf.clip_by_value(tf.concat([x, tf.nn.relu(x)], -1) ** 2.0, 0.0, 6.0)
    x = tf.where(x > 1.0, tf.sqrt(x), tf.math.l2_normalize(tf.tile(tf.reshape(x[:, :3], [-1, 3]), [1, 2])))
    x = tf.squeeze(tf.expand_dims(tf.stack(tf.split(x, 2, -1), 1), -1), -1)
    x = tf.linalg.matmul(x, x, transpose_b=True) + tf.keras.backend.sum(x, axis=-1, keepdims=True)
    x = tf.compat.v1.squeeze(tf.keras.activations.gelu(tf.gather(x, [0], axis=1)), [1])
    model = tf.keras.Model(image, tf.multiply(x, tf.stop_gradient(tf.identity(x))))
    model.save(tmp_path / file)
    given = np.linspace(0, 1000, 48, dtype=np.float32).reshape(1, 4, 4, 3)
    np.testing.assert_allclose(load_keras(pretrained(tmp_path / file))(given), model(given), rtol=1e-5)


def test_initializer_of_tensorflow_needs_no_trust(tmp_path: Path) -> None:
    """The layers of EfficientNetV2 have one."""
    model = tf.keras.Sequential(
        [tf.keras.Input([2]), tf.keras.layers.Dense(3, bias_initializer=tf.constant_initializer(2.0))]
    )
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_keras(pretrained(tmp_path / "model.keras"))(np.zeros([1, 2])), [[2.0] * 3])


@tf.keras.utils.register_keras_serializable("tests")
class Doubling(tf.keras.layers.Layer):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return activated(inputs * 2)


@tf.keras.utils.register_keras_serializable("tests")
def activated(inputs: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(inputs)


def test_archive_without_its_suffix_is_loaded(tmp_path: Path, model: tf.keras.Model) -> None:
    model.save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "4f9c")
    first, second = np.ones([5, 3], np.float32), np.arange(10, dtype=np.float32).reshape(5, 2)
    loaded = load_keras(pretrained(tmp_path / "4f9c"))
    np.testing.assert_allclose(loaded([first, second]), model([first, second]), rtol=1e-6)


def test_what_the_task_registers_needs_no_trust(tmp_path: Path) -> None:
    layers = [
        Doubling(),
        tf.keras.layers.Dense(2, activation=activated, kernel_regularizer="l2", kernel_initializer="he_normal"),
        tf.keras.layers.Dense(2, activation=tf.nn.tanh, kernel_constraint=tf.keras.constraints.NonNeg()),
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.Activation(tf.keras.activations.gelu),
    ]
    inputs = tf.keras.Input([3])
    outputs = tf.keras.Sequential(layers)(inputs)
    model = tf.keras.Model(inputs, tf.nn.softmax(outputs * 2.0))
    model.save(tmp_path / "model.keras")
    loaded = load_keras(pretrained(tmp_path / "model.keras"))
    np.testing.assert_allclose(loaded(np.ones([1, 3])), model(np.ones([1, 3])), rtol=1e-5)


def test_saved_model_that_takes_strings_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.serve = tf.function(
        lambda examples: {"n": tf.strings.length(examples)}, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.serve})
    with pytest.raises(ModelError, match="takes strings, not decoded inputs"):
        import_model(pretrained(tmp_path / "saved"), tmp_path / "baseline")
    assert not (tmp_path / "baseline").exists()


def test_keras_file_that_takes_strings_is_refused_with_advice(tmp_path: Path) -> None:
    text = tf.keras.Input([], dtype="string", name="word")
    numbers = tf.one_hot(tf.strings.to_hash_bucket_fast(text, 8), 8)
    tf.keras.Model(text, tf.keras.layers.Dense(2)(numbers)).save(tmp_path / "words.keras")
    message = r"input word: the model takes strings.*leave decoding to the task"
    with pytest.raises(ModelError, match=message):
        import_model(pretrained(tmp_path / "words.keras"), tmp_path / "out")


def test_saved_model_without_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"))
    with pytest.raises(ModelError, match="lacks the signature") as caught:
        import_model(pretrained(tmp_path / "saved"), tmp_path / "baseline")
    assert "model.export(folder)" in caught.value.remedy
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x * 2.0}, input_signature=[tf.TensorSpec([None, 3])])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"predict": module.f})
    with pytest.raises(ModelError, match="expected: predict; found: serving_default") as caught:
        import_model(pretrained(tmp_path / "other"), tmp_path / "baseline")
    assert "baseline: {signature: predict}" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "found"), [("nothing", "no file or folder"), ("a.txt", "a file in a different format"), ("d", "a folder")]
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "a.txt").write_text("text, long enough for a header")
    (tmp_path / "d").mkdir()
    with pytest.raises(ModelError, match=f"found: {found}"):
        recognize(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "found", "advice"),
    [
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(8), "16 bytes; ", "copy or convert it again"),
        ("renamed", b"\x1c\0\0\0TFL3" + bytes(8), "16 bytes; ", "copy or convert it again"),
        ("m.pb", b"\n\x0b\n\x01x\x12\x06", "a frozen graph (GraphDef)", "wrap_function"),
        ("saved_model.pb", b"\n\x0b\n\x01x\x12\x06", "a frozen graph (GraphDef)", "wrap_function"),
        ("d/frozen_inference_graph.pb", b"\n\x0b\n\x01x", "frozen_inference_graph.pb, a frozen graph", "wrap_function"),
        ("d/saved_model.pb", b"\n\x0b\n\x01x", "saved_model.pb, a frozen graph (GraphDef)", "wrap_function"),
        ("m.keras", b"", "0 bytes", "copy or save it again"),
        ("m.keras", b"PK\x03\x04" + bytes(96), "100 bytes", "copy or save it again"),
        (
            "saved_model.pb",
            b"\n\xff\xff\xff\xff\x0f",
            "the graph of a SavedModel without its folder",
            "specify the folder: ",
        ),
        ("saved_model.pb", b"\x08\x01\x12\x06", "the graph of a SavedModel without its folder", "specify the folder: "),
    ],
)
def test_advice_names_what_the_file_is(tmp_path: Path, name: str, content: bytes, found: str, advice: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        recognize(path.parent if name.startswith("d/") else path)
    assert f"found: {found}" in str(caught.value)
    assert advice in caught.value.remedy


def test_what_is_not_a_regular_file_is_described(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(ModelError, match=f"found: {found}, which is not a regular file"):
            recognize(path)


@pytest.mark.parametrize("name", ["m.weights.h5", "m.h5"])
def test_file_of_weights_only_is_refused(tmp_path: Path, name: str) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Input([2]), tf.keras.layers.Dense(1)])
    model.save_weights(tmp_path / name)
    with pytest.raises(ModelError, match=r"contains only weights.*save the whole model"):
        recognize(tmp_path / name)
    model.save(tmp_path / "whole.h5")
    assert recognize(tmp_path / "whole.h5").kind == "keras"


def small_files(small: SmallPipeline) -> tuple[str, ExampleDecoder, list[str]]:
    (small.folder / "data" / "train.tfrecord").unlink()
    path = small.write_split("train", 240, seed=1, zipped=True)
    make_importable(small.write())
    return small.spec["task"], ExampleDecoder(small.spec["task"]), [str(path)]


def test_same_seed_trains_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    task, decoder, files = small_files(SmallPipeline(tmp_path))
    weights = [
        train(task, TrainedBaseline(kind="train", epochs=1, seed=seed), decoder, files, "label").get_weights()
        for seed in (3, 3, 4)
    ]
    for one, other in zip(weights[0], weights[1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(weights[0][0], weights[2][0])


def weights_of(monkeypatch: pytest.MonkeyPatch, small: SmallPipeline, bound: int) -> list[np.ndarray]:
    task, decoder, files = small_files(small)
    monkeypatch.setattr(training_data, "IN_MEMORY_BYTES", bound)
    return train(task, TrainedBaseline(kind="train", epochs=8, seed=3), decoder, files, "label").get_weights()


def test_training_streams_to_the_same_weights_each_time_when_the_split_exceeds_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # 240 images of 16 float32 are 15360 bytes.
    caplog.set_level("INFO", logger="components")
    whole = weights_of(monkeypatch, SmallPipeline(tmp_path / "a"), 15360)
    assert "decoded again" not in caplog.text
    first, second = (weights_of(monkeypatch, SmallPipeline(tmp_path / name), 15359) for name in ("b", "c"))
    assert caplog.text.count("decoded again each epoch") == 2
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[0], first[0])
    losses = [
        float(line.partition("loss ")[2].partition(",")[0]) for line in caplog.text.splitlines() if "loss " in line
    ]
    assert len(losses) == 24
    assert max(losses[7::8]) < 0.5 * min(losses[0::8])


def test_training_without_the_label_is_refused_by_its_name(tmp_path: Path) -> None:
    task, decoder, files = small_files(SmallPipeline(tmp_path))
    with pytest.raises(SpecError, match=r"examples.label: the task has no dense feature 'class'"):
        train(task, TrainedBaseline(kind="train", epochs=1), decoder, files, "class")


def test_training_refuses_a_model_that_cannot_be_exported_before_it_fits(tmp_path: Path) -> None:
    task, decoder, files = small_files(
        SmallPipeline(tmp_path, TASK.replace('layers.Input([4, 4, 1], name="image"),', ""))
    )
    with pytest.raises(ModelError, match=r"does not define its inputs .*found: Sequential.*Input first"):
        train(task, TrainedBaseline(kind="train", epochs=10**6), decoder, files, "label")


def test_custom_layer_without_config_is_exported(tmp_path: Path) -> None:
    class Doubled(tf.keras.layers.Layer):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def call(self, values: tf.Tensor) -> tf.Tensor:
            return values * self.factor

    image = tf.keras.Input([3], name="image")
    export(tf.keras.Model(image, Doubled(2.0)(image)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [SERVING_FOLDER]
    (result,) = (
        tf.saved_model.load(str(tmp_path / SERVING_FOLDER))
        .signatures["serving_default"](image=tf.ones([2, 3]))
        .values()
    )
    np.testing.assert_array_equal(result, np.full([2, 3], 2.0))


def test_example_without_a_feature_is_reported_in_one_line(tmp_path: Path) -> None:
    _, decoder, _ = small_files(SmallPipeline(tmp_path))
    with pytest.raises(DataError) as caught:
        decoder.decode([serialize({"image": np.zeros(16)})])
    assert caught.value.what == (
        "an example does not have the features that the task declares: "
        "Feature: label (data type: int64) is required but could not be found"
    )
    with pytest.raises(DataError, match=r"declares: Key: image, Index: 0\.  Number of float values != expected"):
        decoder.decode([serialize({"image": np.zeros(15), "label": 1})])


def test_loss_that_is_not_finite_stops_with_the_epoch(tmp_path: Path) -> None:
    text = TASK.replace("Adam(0.05)", "SGD(1e30)").replace("sparse_categorical_crossentropy", "mse")
    task, decoder, files = small_files(SmallPipeline(tmp_path, text))
    with pytest.raises(ModelError, match=r"the loss is (nan|inf) after epoch \d.*lower the learning rate"):
        train(task, TrainedBaseline(kind="train", epochs=3), decoder, files, "label")


def test_pretrained_model_that_changed_since_the_pipeline_was_built_is_refused(
    tmp_path: Path, model: tf.keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    task = f"{next(SmallPipeline(tmp_path).folder.glob('small_task_*.py')).stem}:TASK"
    model.save(tmp_path / "model.keras")
    artifact = Model()
    artifact.uri = str(tmp_path / "baseline")
    parameters = {
        "path": str(tmp_path / "model.keras"),
        "spec": '{"kind": "pretrained"}',
        "sha256": "0" * 64,
        "task": task,
    }
    executor = PretrainedModel.EXECUTOR_SPEC.executor_class()
    with pytest.raises(DataError, match=r"model\.keras: this has changed since .*expected: sha256 0{64}"):
        executor.Do({}, {"model": [artifact]}, {**parameters, "task_version": "1", "code_version": "1"})


def test_training_refuses_a_model_without_trainable_weights_before_it_fits(tmp_path: Path) -> None:
    text = TASK.replace("3, activation", "3, trainable=False, activation")
    task, decoder, files = small_files(SmallPipeline(tmp_path, text.replace("8, 3, act", "8, 3, trainable=False, act")))
    with pytest.raises(ModelError, match=r"no trainable weights, .*found: 4 weights, all of them frozen"):
        train(task, TrainedBaseline(kind="train", epochs=10**6), decoder, files, "label")


def test_class_that_the_task_does_not_register_is_named_with_the_way_to_register_it(tmp_path: Path) -> None:
    class Unregistered(tf.keras.layers.Layer):
        pass

    @tf.keras.utils.register_keras_serializable("shop")
    class Lost(tf.keras.layers.Layer):
        pass

    for name, layer, found, remedy in (
        ("plain.h5", Unregistered(), "Unregistered", "get_custom_objects()['Unregistered'] = Unregistered` below"),
        ("registered.h5", Lost(), "shop>Lost", "register_keras_serializable('shop')` above `class Lost` in the task's"),
        ("registered.keras", Lost(), "Lost", "register_keras_serializable('shop')` above `class Lost` in the task's"),
    ):
        tf.keras.Sequential([tf.keras.Input([3]), layer]).save(tmp_path / name)
        registered = tf.keras.utils.get_custom_objects().pop("shop>Lost")
        try:
            with pytest.raises(ModelError, match=rf"the task does not register .*found: [\w.]*{found}\)") as caught:
                load_keras(pretrained(tmp_path / name))
        finally:
            tf.keras.utils.get_custom_objects()["shop>Lost"] = registered
        assert remedy in caught.value.remedy


def test_weights_that_expand_to_far_more_than_the_file_are_refused_before_they_are_read(tmp_path: Path) -> None:
    tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Dense(2, name="d")]).save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        del file["model_weights/d/d/kernel:0"]
        file["model_weights/d/d"].create_dataset("kernel:0", [1 << 15, 1 << 15], np.float32, chunks=(1024, 1024))
    with pytest.raises(ModelError, match=r"kernel:0: the model file is a decompression bomb .*4,294,967,296 bytes"):
        load_keras(pretrained(tmp_path / "model.h5"))
