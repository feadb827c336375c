from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.baseline.export import SERVING_FOLDER
from components.baseline.pretrained import import_model, recognise
from components.baseline.spec import TrainedBaseline
from components.baseline.trained import train
from components.errors import ModelError
from components.examples import ExampleDecoder
from pipelines.preflight import make_importable
from tests.small_pipeline import TASK, SmallPipeline


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
    assert recognise(tmp_path / file) == ("saved_model" if file == "saved" else "keras")
    import_model(tmp_path / file, tmp_path / "baseline")
    serve = tf.saved_model.load(str(tmp_path / "baseline" / SERVING_FOLDER)).signatures["serving_default"]
    first, second = np.ones([5, 3], np.float32), np.arange(10, dtype=np.float32).reshape(5, 2)
    if file == "saved":
        (result,) = serve(first=first, second=second).values()
    else:
        assert set(serve.structured_input_signature[1]) == {"first", "second"}
        result = serve(first=first, second=second)["scores"]
    np.testing.assert_allclose(result, model([first, second]), rtol=1e-6)


def test_saved_model_that_takes_strings_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.serve = tf.function(
        lambda examples: {"n": tf.strings.length(examples)}, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.serve})
    with pytest.raises(ModelError, match="takes strings, not decoded inputs"):
        import_model(tmp_path / "saved", tmp_path / "baseline")
    assert not (tmp_path / "baseline").exists()


def test_saved_model_without_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"))
    with pytest.raises(ModelError, match="no signature `serving_default`"):
        import_model(tmp_path / "saved", tmp_path / "baseline")


@pytest.mark.parametrize(
    ("name", "found"), [("nothing", "nothing"), ("a.txt", "a file of another format"), ("d", "a folder")]
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "a.txt").write_text("text, long enough for a header")
    (tmp_path / "d").mkdir()
    with pytest.raises(ModelError, match=f"found: {found}"):
        recognise(tmp_path / name)


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


def test_loss_that_is_not_finite_stops_with_the_epoch(tmp_path: Path) -> None:
    text = TASK.replace("Adam(0.05)", "SGD(1e30)").replace("sparse_categorical_crossentropy", "mse")
    task, decoder, files = small_files(SmallPipeline(tmp_path, text))
    with pytest.raises(ModelError, match=r"the loss is (nan|inf) after epoch \d.*lower the learning rate"):
        train(task, TrainedBaseline(kind="train", epochs=3), decoder, files, "label")
