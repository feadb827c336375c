"""Recurrent and convolutional models of sequences."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo_models.entry import ZooModel

STEPS = 10


def _of_series(k: Any, *layers: Any, width: int = 6) -> Any:
    return k.Sequential([k.Input([STEPS, width], name="series"), *layers])


def lstm(k: Any) -> Any:
    return _of_series(k, k.layers.LSTM(24), k.layers.Dense(4, "softmax"))


def stacked_lstm(k: Any) -> Any:
    return _of_series(k, k.layers.LSTM(16, return_sequences=True), k.layers.LSTM(16), k.layers.Dense(4))


def lstm_sequence(k: Any) -> Any:
    return _of_series(k, k.layers.LSTM(24, return_sequences=True), k.layers.Dense(4, "softmax"))


def bidirectional_lstm(k: Any) -> Any:
    return _of_series(k, k.layers.Bidirectional(k.layers.LSTM(16)), k.layers.Dense(4))


def masked_lstm(k: Any) -> Any:
    return _of_series(k, k.layers.Masking(0.0), k.layers.LSTM(24), k.layers.Dense(4))


def gru(k: Any) -> Any:
    return _of_series(k, k.layers.GRU(24), k.layers.Dense(4, "softmax"))


def gru_reset_before(k: Any) -> Any:
    return _of_series(k, k.layers.GRU(24, reset_after=False, return_sequences=True), k.layers.Dense(4))


def bidirectional_gru(k: Any) -> Any:
    wrapped = k.layers.Bidirectional(k.layers.GRU(16, return_sequences=True))
    return _of_series(k, wrapped, k.layers.GlobalAveragePooling1D(), k.layers.Dense(4))


def simple_rnn(k: Any) -> Any:
    return _of_series(k, k.layers.SimpleRNN(24), k.layers.Dense(4))


def sru(k: Any) -> Any:
    from components.cells.sru import SRU

    return _of_series(k, SRU(24), k.layers.Dense(4))


def conv_lstm(k: Any) -> Any:
    layers = k.layers
    video = k.Input([4, 8, 8, 1], name="video")
    return k.Model(video, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ConvLSTM2D(8, 3)(video))))


def crnn(k: Any) -> Any:
    """Convolutions, then a recurrent layer along the width: the logits of a CTC loss."""
    layers = k.layers
    line = k.Input([16, 32, 1], name="line")
    x = layers.MaxPooling2D((2, 2))(layers.Conv2D(8, 3, padding="same", activation="relu")(line))
    x = layers.MaxPooling2D((2, 1))(layers.Conv2D(16, 3, padding="same", activation="relu")(x))
    x = layers.Reshape((16, 64))(layers.Permute((2, 1, 3))(x))
    x = layers.Bidirectional(layers.LSTM(16, return_sequences=True))(x)
    return k.Model(line, layers.Dense(12, name="logits")(x))


def frame_by_frame(k: Any) -> Any:
    """The same convolutions on each frame, then an LSTM."""
    layers = k.layers
    video = k.Input([4, 12, 12, 1], name="video")
    x = layers.TimeDistributed(layers.Conv2D(8, 3, strides=2, activation="relu"))(video)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    return k.Model(video, layers.Dense(3)(layers.LSTM(16)(x)))


def translator(k: Any) -> Any:
    layers = k.layers
    return _of_series(
        k, layers.LSTM(16), layers.RepeatVector(5), layers.LSTM(16, return_sequences=True), layers.Dense(6)
    )


def sequence_with_features(k: Any) -> Any:
    layers = k.layers
    series, vector = k.Input([STEPS, 6], name="series"), k.Input([8], name="vector")
    x = layers.Concatenate()([layers.GRU(16)(series), layers.Dense(16, "relu")(vector)])
    return k.Model([series, vector], layers.Dense(2, name="risk")(x))


def conv1d(k: Any) -> Any:
    layers = k.layers
    convolutions = [
        layers.Conv1D(24, 5, activation="relu"),
        layers.MaxPooling1D(2),
        layers.Conv1D(32, 3, activation="relu"),
    ]
    return k.Sequential([k.Input([32, 6], name="series"), *convolutions, layers.GlobalMaxPooling1D(), layers.Dense(4)])


def wavenet(k: Any) -> Any:
    """Dilated causal convolutions with gates and skips."""
    layers = k.layers
    audio = k.Input([32, 1], name="audio")
    x, skips = layers.Conv1D(16, 1)(audio), []
    for rate in (1, 2, 4):
        kept = layers.Conv1D(16, 2, padding="causal", dilation_rate=rate, activation="tanh")(x)
        gate = layers.Conv1D(16, 2, padding="causal", dilation_rate=rate, activation="sigmoid")(x)
        out = layers.Conv1D(16, 1)(layers.Multiply()([kept, gate]))
        x = layers.Add()([x, out])
        skips.append(out)
    return k.Model(audio, layers.Conv1D(8, 1, name="levels")(layers.ReLU()(layers.Add()(skips))))


def tcn(k: Any) -> Any:
    layers = k.layers
    series = x = k.Input([24, 6], name="series")
    x = layers.Conv1D(16, 1)(x)
    for rate in (1, 2, 4):
        y = layers.Conv1D(16, 3, padding="causal", dilation_rate=rate)(x)
        y = layers.SpatialDropout1D(0.1)(layers.ReLU()(layers.BatchNormalization()(y)))
        x = layers.ReLU()(layers.Add()([x, layers.Conv1D(16, 3, padding="causal", dilation_rate=rate)(y)]))
    return k.Model(series, layers.Dense(4)(x[:, -1]))


def separable_1d(k: Any) -> Any:
    layers = k.layers
    parts = [layers.SeparableConv1D(32, 5, activation="relu"), layers.BatchNormalization(), layers.AveragePooling1D(2)]
    return k.Sequential([k.Input([32, 6], name="series"), *parts, layers.Flatten(), layers.Dense(4)])


def upsampled_1d(k: Any) -> Any:
    layers = k.layers
    down = [layers.Conv1D(24, 4, strides=2, padding="same", activation="relu"), layers.UpSampling1D(2)]
    return k.Sequential(
        [k.Input([32, 4], name="series"), *down, layers.Conv1DTranspose(8, 4, strides=2), layers.Dense(4)]
    )


MODELS = tuple(
    ZooModel(build.__name__, "sequence", build)
    for build in (
        lstm, stacked_lstm, lstm_sequence, bidirectional_lstm, masked_lstm, gru, gru_reset_before, bidirectional_gru,
        simple_rnn, sru, conv_lstm, crnn, frame_by_frame, translator, sequence_with_features, conv1d, wavenet, tcn,
        separable_1d, upsampled_1d,
    )
)  # fmt: skip
