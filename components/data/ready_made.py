"""Ready-made tasks for classification and regression: for one input or several, several labels, several outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import tensorflow as tf

Stored = Literal["uint8", "int16", "int64", "float32", "bool"]
Objective = Literal["classes", "two_classes", "labels", "values"]
LabelType = Literal["int64", "float32"]
# Features of these types contain bytes, row by row.
_RAW = frozenset({"uint8", "int16"})
_LOSSES = {
    "classes": ("SparseCategoricalCrossentropy", "SparseCategoricalAccuracy"),
    "two_classes": ("BinaryCrossentropy", "BinaryAccuracy"),
    "labels": ("BinaryCrossentropy", "BinaryAccuracy"),
    "values": ("MeanSquaredError", "MeanAbsoluteError"),
}


@dataclass(frozen=True)
class Input:
    """One input of a model: a feature, or columns of numbers.

    Attributes:
        features: Feature name -> type of its values. Several features are columns of numbers, in the order of the
            input. A column of type `bool` contains strings: true and false in any case, or numbers.
        shape: Shape of one example of the input.
        scale, offset: The input is `value * scale + offset`. With tuples, each column has its own.
        dtype: Type of the input.
    """

    features: Mapping[str, Stored]
    shape: tuple[int, ...]
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0
    dtype: str = "float32"

    def feature_spec(self) -> dict[str, Any]:
        """The features."""
        import tensorflow as tf

        size = math.prod(self.shape) // len(self.features)
        raw = tf.io.FixedLenFeature([], tf.string)
        return {
            name: raw if stored in _RAW | {"bool"} else tf.io.FixedLenFeature([size], tf.as_dtype(stored))
            for name, stored in self.features.items()
        }

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Read, scale, and shape a batch of this input."""
        import tensorflow as tf

        size = math.prod(self.shape)
        columns = [
            tf.io.decode_raw(features[name], stored, fixed_length=size * tf.as_dtype(stored).size)
            if stored in _RAW
            else _truths(features[name])
            if stored == "bool"
            else features[name]
            for name, stored in self.features.items()
        ]
        values = tf.concat([tf.cast(column, tf.float32) for column in columns], axis=1)
        return tf.cast(tf.reshape(values * self.scale + self.offset, [-1, *self.shape]), self.dtype)


@dataclass(frozen=True)
class OneInputTask:
    """Turns one feature, or columns of numbers, into the input of a model. Recipes can fine-tune the model.

    Attributes:
        features, shape, scale, offset, dtype: As in `edgemill.Input`.
        objective: `classes` if the model has one output value for each class, `two_classes` if it has one value for
            both, or `values` for regression.
        label: Feature of the label.
        label_type: Type of its values.
        logits: Whether the outputs are logits instead of probabilities.
        learning_rate: The rate of Adam, unless a step sets another.
    """

    features: Mapping[str, Stored]
    shape: tuple[int, ...]
    objective: Objective
    label: str = "label"
    label_type: LabelType = "int64"
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0
    logits: bool = False
    dtype: str = "float32"
    learning_rate: float = 1e-3

    @property
    def _input(self) -> Input:
        return Input(self.features, self.shape, self.scale, self.offset, self.dtype)

    def feature_spec(self) -> Mapping[str, Any]:
        """The features, and the label."""
        return {**self._input.feature_spec(), **_label_spec(self.label, self.label_type)}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Read, scale, and shape a batch of inputs."""
        return self._input.decode(features)

    def compile(self, model: Any) -> None:
        """Compile with Adam, and with the loss of the objective."""
        _compile(model, self.objective, self.learning_rate, logits=self.logits)


@dataclass(frozen=True)
class SeveralInputsTask:
    """Turns features into the inputs of a model with several inputs. Recipes can fine-tune the model.

    Attributes:
        inputs: Name of an input of the model -> the features that it is made from.
        objective, label, label_type, logits, learning_rate: As in `edgemill.OneInputTask`.
    """

    inputs: Mapping[str, Input]
    objective: Objective
    label: str = "label"
    label_type: LabelType = "int64"
    logits: bool = False
    learning_rate: float = 1e-3

    def feature_spec(self) -> Mapping[str, Any]:
        """The features of all inputs, and the label."""
        declared = {name: kind for each in self.inputs.values() for name, kind in each.feature_spec().items()}
        return {**declared, **_label_spec(self.label, self.label_type)}

    def decode(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Read, scale, and shape a batch of each input."""
        return {name: each.decode(features) for name, each in self.inputs.items()}

    def compile(self, model: Any) -> None:
        """Compile with Adam, and with the loss of the objective."""
        _compile(model, self.objective, self.learning_rate, logits=self.logits)


def _truths(texts: tf.Tensor) -> tf.Tensor:
    """Converts texts [N] to 1 for true, 0 for false, and numbers, [N, 1]. Others raise an InvalidArgumentError."""
    import tensorflow as tf

    digits = tf.strings.lower(tf.strings.strip(texts))
    for word, digit in (("true", "1"), ("false", "0")):
        digits = tf.strings.regex_replace(digits, f"^{word}$", digit)
    return tf.strings.to_number(digits)[:, tf.newaxis]


@dataclass(frozen=True)
class LabelsTask:
    """Turns features into the inputs of a model whose examples have several labels: yes or no for each, or numbers.

    The model returns one number for each label. Recipes can fine-tune it.

    Attributes:
        inputs: Name of an input of the model -> the features that it is made from.
        output: Name of the model's output.
        labels: The labels that become targets: 1 for each label that an example has, and 0 for the others; or numbers.
        logits: Whether the outputs are logits instead of probabilities.
        learning_rate: The rate of Adam, unless a step sets another.
        objective: `labels` for 0 and 1, or `values` for regression of several numbers.
    """

    inputs: Mapping[str, Input]
    output: str
    labels: Input
    logits: bool = False
    learning_rate: float = 1e-3
    objective: Objective = "labels"

    def feature_spec(self) -> Mapping[str, Any]:
        """The features of all inputs and of the labels."""
        made = (*self.inputs.values(), self.labels)
        return {name: kind for each in made for name, kind in each.feature_spec().items()}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
        """Read, scale, and shape a batch of each input; of several by name."""
        made = {name: each.decode(features) for name, each in self.inputs.items()}
        return made if len(made) > 1 else next(iter(made.values()))

    def targets(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The labels of a batch, float32 [N, labels], for the output."""
        return {self.output: self.labels.decode(features)}

    def compile(self, model: Any) -> None:
        """Compile with Adam, and with the loss of the objective."""
        _compile(model, self.objective, self.learning_rate, logits=self.logits)


@dataclass(frozen=True)
class Target:
    """The label that one of several outputs is compared with.

    Attributes:
        label: Feature of its label.
        objective: As in `edgemill.OneInputTask`, or `labels` for 0 and 1 for each of several labels.
        stored: Type of the label's values.
        shape: Shape of one label; () for the number of a class.
        logits: Whether the output returns logits.
        scale, offset: The target is `label * scale + offset`, such as 0 and 1 for the labels -1 and 1. Not for the
            number of a class.
    """

    label: str
    objective: Objective
    stored: Stored = "int64"
    shape: tuple[int, ...] = ()
    logits: bool = False
    scale: float = 1.0
    offset: float = 0.0

    @property
    def made(self) -> Input:
        """Declare the label as it is read."""
        kind = "float32" if self.shape else "int64"
        return Input({self.label: self.stored}, self.shape or (1,), self.scale, self.offset, kind)


@dataclass(frozen=True)
class SeveralOutputsTask:
    """Turns features into the inputs of a model with several outputs, and into a target for each output.

    Recipes can fine-tune the model.

    Attributes:
        inputs: Name of an input of the model -> the features that it is made from.
        outputs: Name of an output of the model -> the label that it is compared with.
        learning_rate: The rate of Adam, unless a step sets another.
    """

    inputs: Mapping[str, Input]
    outputs: Mapping[str, Target]
    learning_rate: float = 1e-3

    def feature_spec(self) -> Mapping[str, Any]:
        """The features of all inputs and of the labels."""
        made = (*self.inputs.values(), *(each.made for each in self.outputs.values()))
        return {name: kind for each in made for name, kind in each.feature_spec().items()}

    def decode(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
        """Read, scale, and shape a batch of each input; of several by name."""
        made = {name: each.decode(features) for name, each in self.inputs.items()}
        return made if len(made) > 1 else next(iter(made.values()))

    def targets(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The labels of a batch for each output: int64 [N] for classes, and float32 [N, ...] for others."""
        found = {name: (each, each.made.decode(features)) for name, each in self.outputs.items()}
        return {name: value if each.shape else value[:, 0] for name, (each, value) in found.items()}

    def compile(self, model: Any) -> None:
        """Compile with Adam, and with the loss of each output."""
        import tensorflow as tf

        made = {name: _loss(each.objective, logits=each.logits) for name, each in self.outputs.items()}
        losses, metrics = ({name: pair[place] for name, pair in made.items()} for place in (0, 1))
        model.compile(tf.keras.optimizers.Adam(self.learning_rate), losses, metrics)


def _label_spec(label: str, label_type: LabelType) -> dict[str, Any]:
    import tensorflow as tf

    return {label: tf.io.FixedLenFeature([], tf.as_dtype(label_type))}


def _loss(objective: Objective, *, logits: bool) -> tuple[Any, Any]:
    """The loss and the metric of an objective."""
    import tensorflow as tf

    loss, metric = _LOSSES[objective]
    options = {} if objective == "values" else {"from_logits": logits}
    return getattr(tf.keras.losses, loss)(**options), getattr(tf.keras.metrics, metric)()


def _compile(model: Any, objective: Objective, learning_rate: float, *, logits: bool) -> None:
    import tensorflow as tf

    loss, metric = _loss(objective, logits=logits)
    model.compile(tf.keras.optimizers.Adam(learning_rate), loss, [metric])
