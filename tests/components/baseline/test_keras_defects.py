"""Models that tf-keras can't load, or that TensorFlow can't run, without help."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.baseline.pretrained import import_model, load_keras
from components.core.errors import ModelError
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.input_shapes import with_plain_names
from components.model.keras_model import check_keras_takes, check_learns, check_trains_on, load_kept
from components.model.reference.float_model import load_float
from components.spec.baseline import PretrainedBaseline
from tests.artifacts import pretrained

layers = tf.keras.layers


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_layer_scale_of_convnext_loads(name: str, tmp_path: Path) -> None:
    from tf_keras.src.applications.convnext import LayerScale

    image = tf.keras.Input([8, 8, 4], name="image")
    model = tf.keras.Model(image, layers.Flatten()(LayerScale(0.5, 4)(layers.Conv2D(4, 3)(image))))
    model.save(tmp_path / name)
    import_model(PretrainedBaseline(kind="pretrained", path=str(tmp_path / name)), tmp_path / "baseline")
    images = np.random.default_rng(0).normal(size=[2, 8, 8, 4]).astype(np.float32)
    np.testing.assert_allclose(load_kept(tmp_path / "baseline")(images), model(images), atol=1e-6)


def test_mish_after_a_normalized_convolution_runs(tmp_path: Path) -> None:
    image = tf.keras.Input([8, 8, 3], name="image")
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(image))
    model = tf.keras.Model(image, layers.Flatten(name="flat")(layers.Activation("mish")(x)))
    model.save(tmp_path / "model.keras")
    import_model(PretrainedBaseline(kind="pretrained", path=str(tmp_path / "model.keras")), tmp_path / "baseline")
    images = np.random.default_rng(0).normal(size=[2, 8, 8, 3]).astype(np.float32)
    (found,) = load_float(tmp_path / "baseline" / SERVING_FOLDER).run({"image": images}).values()
    # Eager execution fuses nothing.
    np.testing.assert_allclose(found, model(images), atol=1e-5)


@pytest.mark.parametrize("name", ["model.keras", "folder"])
def test_normalization_along_several_axes_runs(name: str, tmp_path: Path) -> None:
    series = tf.keras.Input([4, 6], name="series")
    model = tf.keras.Model(series, layers.Flatten(name="flat")(layers.LayerNormalization(axis=[1, 2])(series)))
    model.layers[1].set_weights([np.full([4, 6], 1.1, np.float32), np.full([4, 6], 0.1, np.float32)])
    model.save(tmp_path / name)
    import_model(PretrainedBaseline(kind="pretrained", path=str(tmp_path / name)), tmp_path / "baseline")
    values = np.random.default_rng(0).normal(size=[16, 4, 6]).astype(np.float32)
    (found,) = load_float(tmp_path / "baseline" / SERVING_FOLDER).run({"series": values}).values()
    np.testing.assert_allclose(found, model(values), atol=1e-5)


def test_slice_that_keras_cannot_save_is_named() -> None:
    vector = tf.keras.Input([4, 6], name="vector")
    with pytest.raises(
        ModelError, match=r"write each slice with all axes, `x\[:, :, :2\]` instead of `x\[\.\.\., :2\]`"
    ):
        check_trains_on(tf.keras.Model(vector, layers.Dense(3)(vector)[..., :2]))


def test_model_that_returns_only_class_numbers_is_not_trained() -> None:
    vector = tf.keras.Input([4], name="vector")
    model = tf.keras.Model(vector, tf.argmax(layers.Dense(3)(vector), -1))
    with pytest.raises(ModelError, match="returns integers, which have no gradient"):
        check_learns(model)


def test_einsum_whose_tensors_the_file_lost_is_named_with_what_to_use_instead(tmp_path: Path) -> None:
    series = tf.keras.Input([4, 3], name="series")
    tf.keras.Model(series, tf.einsum("btc,bsc->bts", series, series)).save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"doesn't record which tensors its tf.einsum reads.*EinsumDense"):
        import_model(PretrainedBaseline(kind="pretrained", path=str(tmp_path / "model.keras")), tmp_path / "baseline")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_layer_that_nested_models_share_is_refused_with_a_form_that_holds_its_weights(
    tmp_path: Path, suffix: str
) -> None:
    shared = layers.Dense(4, name="shared")
    inner = tf.keras.Sequential([tf.keras.Input([4]), shared], name="inner")
    vector = tf.keras.Input([4], name="vector")
    outer = tf.keras.Model(vector, layers.Add()([inner(vector), shared(vector)]), name="outer")
    again = tf.keras.Input([4], name="again")
    model = tf.keras.Model(again, layers.Dense(2)(layers.Add()([outer(again), inner(again)])))
    model.save(path := tmp_path / f"model.{suffix}")
    with pytest.raises(ModelError, match=r"the file lacks weights.*save the model as a SavedModel"):
        load_keras(PretrainedBaseline(kind="pretrained", path=str(path)))
    model.save(tmp_path / "saved")
    loaded = load_keras(PretrainedBaseline(kind="pretrained", path=str(tmp_path / "saved")))
    x = np.random.default_rng(3).normal(size=(2, 4)).astype(np.float32)
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)


def test_inputs_have_the_names_of_the_saved_model_s_arguments(tmp_path: Path) -> None:
    left, right = tf.keras.Input([4], name="in.put/0"), tf.keras.Input([4], name="plain")
    tf.keras.Model([left, right], layers.Dense(2, name="head/scores.1")(layers.Add()([left, right]))).save(
        path := tmp_path / "model.keras"
    )
    baseline = PretrainedBaseline(kind="pretrained", path=str(path))
    assert [tensor.name for tensor in load_keras(baseline).inputs] == ["in_put_0", "plain"]
    import_model(baseline, tmp_path / "baseline")
    x = np.ones([2, 4], np.float32)
    assert set(load_float(tmp_path / "baseline" / SERVING_FOLDER).run({"in_put_0": x, "plain": x})) == {"head/scores.1"}


@pytest.mark.parametrize(
    ("name", "plain"),
    [("in", "in_"), ("class", "class_"), ("None", "None_"), ("self", "self_"), ("1x", "arg_1x"), ("a b", "a_b")],
)
def test_inputs_may_have_any_name(name: str, plain: str, tmp_path: Path) -> None:
    vector = tf.keras.Input([4], name=name)
    model = tf.keras.Model(vector, layers.Dense(2, name="head")(vector))
    model.save(path := tmp_path / "model.keras")
    import_model(PretrainedBaseline(kind="pretrained", path=str(path)), tmp_path / "baseline")
    x = np.random.default_rng(0).normal(size=[2, 4]).astype(np.float32)
    found = load_float(tmp_path / "baseline" / SERVING_FOLDER).run({plain: x})["head"]
    np.testing.assert_allclose(found, model(x), atol=1e-6)
    np.testing.assert_allclose(load_kept(tmp_path / "baseline")({plain: x}), model(x), atol=1e-6)


def test_letters_that_tensorflow_does_not_take_are_replaced_in_names_of_inputs() -> None:
    vector = tf.keras.Input([4], name="größe")
    changed = with_plain_names(tf.keras.Model(vector, layers.Dense(2)(vector)))
    assert changed.input_names == ["gr__e"]


def test_inputs_with_equal_plain_names_are_refused(tmp_path: Path) -> None:
    left, right = tf.keras.Input([4], name="a.b"), tf.keras.Input([4], name="a_b")
    tf.keras.Model([left, right], layers.Add()([left, right])).save(path := tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"'a\.b', 'a_b': two inputs .* the same name"):
        load_keras(PretrainedBaseline(kind="pretrained", path=str(path)))


@pytest.mark.parametrize(
    "arrange",
    [
        lambda a, b: {"right": a, "left": b},
        lambda a, b: {"left": a, "right": {"inner": b}},
        lambda a, b: {"b": a, "a": b},
        lambda a, b: [a, [b]],
    ],
    ids=["keys", "nested", "swapped", "list"],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_inputs_of_a_dict_have_the_names_of_their_layers(arrange: Any, suffix: str, tmp_path: Path) -> None:
    a, b = tf.keras.Input([4], name="a"), tf.keras.Input([4], name="b")
    one, two = layers.Dense(2)(layers.Subtract()([a, b])), layers.Dense(3)(a)
    model = tf.keras.Model(arrange(a, b), {"one": one, "more": {"two": two}})
    model.save(path := tmp_path / f"model.{suffix}")
    baseline = PretrainedBaseline(kind="pretrained", path=str(path))
    generator = np.random.default_rng(0)
    given = {name: generator.normal(size=[2, 4]).astype(np.float32) for name in "ab"}
    # Keras itself can't call a model with nested dicts.
    expected = tf.keras.Model([a, b], [one, two])([given["a"], given["b"]])
    inputs = {name: tf.constant(values) for name, values in given.items()}
    check_keras_takes(load_keras(baseline), inputs)
    import_model(baseline, tmp_path / "baseline")
    served = load_float(tmp_path / "baseline" / SERVING_FOLDER).run(given)
    for found in (served, load_kept(tmp_path / "baseline")(inputs)):
        assert set(found) == {"one", "more_two"}
        np.testing.assert_allclose(found["one"], expected[0], atol=1e-6)
        np.testing.assert_allclose(found["more_two"], expected[1], atol=1e-6)


def test_model_with_a_recurrent_dropout_is_imported(tmp_path: Path) -> None:
    series = tf.keras.Input([4, 3], name="series")
    x = tf.keras.layers.LSTM(3, activation="relu", return_sequences=True, recurrent_dropout=0.1)(series)
    tf.keras.Model(series, tf.keras.layers.GRU(2, recurrent_dropout=0.1)(x)).save(tmp_path / "model.keras")
    import_model(pretrained(tmp_path / "model.keras"), tmp_path / "imported")
    assert [layer.recurrent_dropout for layer in load_kept(tmp_path / "imported").layers[1:]] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("wrapper", "advice"),
    [
        ("PruneLowMagnitude", r"wrapper of TensorFlow Model Optimization.*strip_pruning"),
        ("QuantizeAnnotate", r"wrapper of TensorFlow Model Optimization.*add a step `qat`"),
    ],
)
def test_wrapper_of_model_optimization_is_named_with_how_to_remove_it(
    tmp_path: Path, wrapper: str, advice: str
) -> None:
    made = type(wrapper, (layers.Wrapper,), {"call": lambda self, inputs: self.layer(inputs)})
    vector = tf.keras.Input([4], name="vector")
    tf.keras.Model(vector, made(layers.Dense(3))(vector)).save(tmp_path / "model.h5")
    with pytest.raises(ModelError, match=advice):
        import_model(PretrainedBaseline(kind="pretrained", path=str(tmp_path / "model.h5")), tmp_path / "baseline")


def test_number_for_the_whole_batch_is_refused_by_name(tmp_path: Path) -> None:
    module = tf.Module()
    module.serve = tf.function(
        lambda x: {"total": tf.reduce_sum(x)}, input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": module.serve})
    with pytest.raises(ModelError, match=r"output total.*one number for the whole batch"):
        import_model(PretrainedBaseline(kind="pretrained", path=str(tmp_path / "model")), tmp_path / "baseline")
