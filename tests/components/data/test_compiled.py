"""What a task passes to Keras' compile is checked where it is passed."""

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from components.core.errors import SpecError
from components.data.compiled import compile_model

keras = tf.keras
LOSS = "sparse_categorical_crossentropy"


class OwnMetric(keras.metrics.Mean):
    pass


class Compiling:
    def __init__(self, call: Callable[[Any], None]) -> None:
        self._call = call

    def feature_spec(self) -> dict[str, Any]:
        return {}

    def decode(self, features: Any) -> Any:
        return features

    def compile(self, model: Any) -> None:
        self._call(model)


@pytest.fixture
def model() -> Any:
    return keras.Sequential([keras.layers.Input([4]), keras.layers.Dense(3, activation="softmax", name="out")])


def keras3() -> Any:
    return pytest.importorskip("keras")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda: ("adam", LOSS, [keras.metrics.AUC]),
            "passes a class instead of an object as metrics (expected: names, functions, or metric objects of "
            "tf.keras; found: the class AUC). Remedy: call the class: `AUC(...)`",
        ),
        (lambda: ("adam", LOSS, OwnMetric), "found: the class OwnMetric)"),
        (lambda: ("adam", LOSS, {"out": ["accuracy", keras.metrics.AUC]}), "found: the class AUC)"),
        (lambda: ("adam", LOSS, None, None, [keras.metrics.AUC]), "as weighted_metrics"),
        (
            lambda: ("adam", keras.losses.MeanSquaredError),
            "passes a class instead of an object as loss (expected: names, functions, or loss objects; found: the "
            "class MeanSquaredError). Remedy: call the class: `MeanSquaredError(...)`",
        ),
        (lambda: ("adam", [keras.losses.MeanSquaredError]), "found: the class MeanSquaredError)"),
        (lambda: ("adam", {"out": keras.losses.MeanSquaredError}), "found: the class MeanSquaredError)"),
        (
            lambda: (keras.optimizers.Adam, LOSS),
            "passes a class instead of an object as optimizer (expected: a name, or an optimizer object of tf.keras; "
            "found: the class Adam). Remedy: call the class: `Adam(...)`",
        ),
        (lambda: (0.05, LOSS), "passes something that is not an optimizer as optimizer"),
        (lambda: (None, LOSS), "found: None)"),
        (lambda: ({"class_name": "Adam", "config": {}}, LOSS), "found: dict of builtins)"),
        (
            lambda: (keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.9), LOSS),
            "found: ExponentialDecay of tf_keras)",
        ),
        (lambda: (keras.losses.MeanSquaredError(), LOSS), "found: MeanSquaredError of tf_keras)"),
        (lambda: ("adm", LOSS), "Keras knows no optimizer 'adm'; did you mean 'Adam'? (expected: Adadelta, Adafactor,"),
        (lambda: ("adam", 5), "passes something that is not a loss as loss"),
        (lambda: ("adam", keras.optimizers.Adam()), "found: Adam of tf_keras)"),
        (lambda: ("adam", keras.metrics.Mean()), "found: Mean of tf_keras). Remedy: pass names, functions, or loss"),
        (lambda: ("adam", LOSS, [5]), "passes something that is not a metric as metrics"),
        (lambda: ("adam", LOSS, [keras.metrics]), "found: module of builtins)"),
        (
            lambda: (keras3().optimizers.Adam(), LOSS),
            "passes an object of Keras 3, which tf-keras cannot use as optimizer",
        ),
        (
            lambda: ("adam", LOSS, [keras3().metrics.Mean()]),
            "found: Mean of keras). Remedy: use Mean from tf.keras",
        ),
        (lambda: ("adam", LOSS, [keras3().metrics.Mean]), "`Mean(...)`, from tf.keras instead of keras"),
    ],
)  # fmt: skip
def test_what_keras_cannot_use_is_named_with_the_fix(model: Any, given: Callable[[], Any], message: str) -> None:
    arguments = given()
    with pytest.raises(SpecError) as caught:
        compile_model(Compiling(lambda model: model.compile(*arguments)), model)
    assert message in str(caught.value)
    assert model.optimizer is None
    assert "compile" not in vars(model)


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "adam", "loss": LOSS, "metrics": ["accuracy", OwnMetric()]},
        {"optimizer": keras.optimizers.legacy.Adam(), "loss": keras.losses.MeanSquaredError()},
        {"optimizer": "Adam", "loss": {"out": lambda y, p: p}},
        {"optimizer": keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam()), "loss": [None]},
        {"loss": LOSS, "metrics": [keras.losses.MeanSquaredError()]},
        {"optimizer": tf.compat.v1.train.GradientDescentOptimizer(0.1), "loss": LOSS},
    ],
)
def test_what_keras_can_use_is_compiled(model: Any, given: dict[str, Any]) -> None:
    compile_model(Compiling(lambda model: model.compile(**given)), model)
    assert model.optimizer is not None
    assert "compile" not in vars(model)


def test_own_compile_of_a_model_keeps_its_arguments(model: Any) -> None:
    class Own(keras.Model):
        def compile(self, optimizer: Any, teacher: Any, **kwargs: Any) -> None:
            super().compile(optimizer, **kwargs)
            self.teacher = teacher

    own = Own(model.inputs, model.outputs)
    compile_model(Compiling(lambda model: model.compile("sgd", "anything", loss=LOSS)), own)
    assert own.teacher == "anything"
    with pytest.raises(SpecError, match="the class MeanSquaredError"):
        compile_model(Compiling(lambda model: model.compile("sgd", 1, loss=keras.losses.MeanSquaredError)), own)
    with pytest.raises(TypeError, match="required positional argument"):
        compile_model(Compiling(lambda model: model.compile("sgd")), own)
