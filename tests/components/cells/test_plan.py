"""What recipes make of recurrent layers, and which layers they refuse, with their names and a fix."""

import pytest

from components.core.errors import ModelError
from components.spec.scheme import DynamicWi8Afp32, Float32, StaticWi4Ai8, StaticWi8Ai8, StaticWi8Ai16
from tests.components.cells.conftest import FEATURES, STEPS, recurrent_layer

INT8, INT16 = StaticWi8Ai8(), StaticWi8Ai16()


def model_of(*middle):
    import tensorflow as tf

    y = x = tf.keras.layers.Input([STEPS, FEATURES], name="x")
    for layer in middle:
        y = layer(y)
    return tf.keras.Model(x, y)


def plan(model, scheme, form=None, trained=False):
    from components.lowering.preflight import plan_layers

    return plan_layers(model, scheme, form, trained)


@pytest.mark.parametrize(
    ("kind", "scheme", "form", "mode"),
    [
        ("lstm", INT8, None, "fused"),
        ("lstm", Float32(), None, "fused"),
        ("gru", INT8, None, "unrolled"),
        ("gru", INT8, "sequence", "unrolled"),
        ("sru", INT8, "streaming", "lowered"),
        ("rnn", INT16, "streaming", "lowered"),
        ("gru", DynamicWi8Afp32(), None, "loop"),
        ("gru", DynamicWi8Afp32(), "streaming", "lowered"),
    ],
)
def test_plan_lists_what_each_layer_becomes(kind, scheme, form, mode):
    (layer,) = plan(model_of(recurrent_layer(kind)), scheme, form)
    assert (layer.layer, layer.mode) == ("cell", mode)
    assert layer.note


@pytest.mark.parametrize(
    ("kind", "options", "scheme"),
    [
        ("gru", {}, INT16),
        ("rnn", {}, INT16),
        ("lstm", {}, INT16),
        ("lstm", {}, INT8),
        ("gru", {"activation": "softsign"}, INT8),
        ("gru", {"return_state": True}, INT8),
    ],
)
def test_layer_that_is_built_unrolled_stays_so_where_it_is_not_lowered(kind, options, scheme):
    import tensorflow as tf

    x = tf.keras.layers.Input([STEPS, FEATURES], name="x")
    model = tf.keras.Model(x, recurrent_layer(kind, unroll=True, **options)(x))
    (layer,) = plan(model, scheme)
    assert (layer.mode, layer.weights) == ("unrolled", "int8")
    assert "built with unroll=True" in layer.note
    masked = tf.keras.Model(x, recurrent_layer(kind, unroll=True, **options)(tf.keras.layers.Masking()(x)))
    with pytest.raises(ModelError, match=r"layer cell: .*its inputs are masked.*Remedy: remove the Masking layer"):
        plan(masked, scheme)


def test_unrolled_lstm_is_fused_after_training():
    (layer,) = plan(model_of(recurrent_layer("lstm", unroll=True)), INT8, trained=True)
    assert layer.mode == "fused"


def test_plan_lists_the_bits_of_a_fused_lstm():
    (layer,) = plan(model_of(recurrent_layer("lstm")), INT8)
    assert (layer.weights, layer.outputs) == ("int8 per gate", "int8; gates and cell state int16")


def test_model_without_recurrent_layers_has_no_plan():
    import tensorflow as tf

    model = model_of(tf.keras.layers.Dense(3))
    assert plan(model, INT8) == ()
    with pytest.raises(ModelError, match=r"it has no recurrent layer.*Remedy: remove `recurrent`"):
        plan(model, INT8, "streaming")


@pytest.mark.parametrize(
    ("kind", "options", "scheme", "form", "words"),
    [
        ("lstm", {}, INT16, None, "no kernel for 16-bit activations.*Remedy: use static_wi8_ai8, whose LSTM uses 16"),
        (
            "lstm",
            {},
            StaticWi8Ai8(calibration_method="mse"),
            None,
            "ranges cannot be injected.*Remedy: leave out `calibration_method`",
        ),
        ("lstm", {}, INT8, "streaming", "keeps its state inside.*Remedy: remove `recurrent`"),
        ("lstm", {"use_bias": False}, INT8, None, "has no bias.*Remedy: build it with use_bias=True"),
        ("lstm", {"recurrent_dropout": 0.1}, INT8, None, "recurrent dropout.*Remedy: use dropout instead"),
        (
            "lstm",
            {"unroll": True, "stateful": True},
            INT8,
            None,
            "it is stateful.*Remedy: build it with stateful=False",
        ),
        ("gru", {"unroll": True}, INT16, "sequence", "activations have 16 bits.*Remedy: use `recurrent: streaming`"),
        ("lstm", {"activation": "relu"}, INT8, None, "its activation is relu.*Remedy: use tanh"),
        ("gru", {"activation": "softsign"}, INT8, None, "its activation is softsign.*Remedy: use tanh or relu"),
        ("gru", {"recurrent_activation": "hard_sigmoid"}, INT8, None, "is hard_sigmoid.*Remedy: use sigmoid"),
        ("gru", {"stateful": True}, INT8, None, "it is stateful.*Remedy: build it with"),
        ("gru", {}, INT16, "sequence", "activations have 16 bits.*Remedy: use `recurrent: streaming`"),
        ("gru", {}, INT16, None, "activations have 16 bits.*Remedy: use `recurrent: streaming`"),
        ("gru", {}, StaticWi4Ai8(), "streaming", "4-bit weights must be trained.*Remedy: add a step `qat`"),
        ("gru", {}, StaticWi8Ai8(keep_float=["a"]), "streaming", "keep layers in float.*Remedy: remove `keep_float`"),
    ],
)
def test_what_is_impossible_is_refused_by_name_with_a_fix(kind, options, scheme, form, words):
    import tensorflow as tf

    x = tf.keras.layers.Input([STEPS, FEATURES], batch_size=1 if "stateful" in options else None, name="x")
    model = tf.keras.Model(x, recurrent_layer(kind, **options)(x))
    with pytest.raises(ModelError, match=f"layer cell: this recipe cannot be applied: .*{words}"):
        plan(model, scheme, form)


def test_state_that_is_returned_is_refused():
    import tensorflow as tf

    x = tf.keras.layers.Input([STEPS, FEATURES])
    _, state = tf.keras.layers.GRU(4, return_state=True, name="encoder")(x)
    with pytest.raises(ModelError, match=r"layer encoder: .*returns its state .*Remedy: build it with return_s"):
        plan(tf.keras.Model(x, state), INT8)


def test_initial_state_is_refused():
    import tensorflow as tf

    x = tf.keras.layers.Input([STEPS, FEATURES])
    h = tf.keras.layers.Dense(4)(tf.keras.layers.Flatten()(x))
    model = tf.keras.Model(x, tf.keras.layers.GRU(4, name="decoder")(x, initial_state=h))
    with pytest.raises(ModelError, match=r"layer decoder: .*given an initial state.*Remedy: let it start from zeros"):
        plan(model, INT8)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_masks_are_refused_for_integers_and_a_loop_for_floats(kind):
    import tensorflow as tf

    model = model_of(tf.keras.layers.Masking(), recurrent_layer(kind))
    with pytest.raises(ModelError, match=r"layer cell: .*its inputs are masked.*Remedy: remove the Masking layer"):
        plan(model, INT8)
    (layer,) = plan(model, Float32())
    assert layer.mode == "loop"


def test_conv_lstm_is_refused_by_name():
    import tensorflow as tf

    x = tf.keras.layers.Input([3, 4, 4, 1])
    model = tf.keras.Model(x, tf.keras.layers.ConvLSTM2D(2, 3, name="frames")(x))
    with pytest.raises(ModelError, match=r"layer frames: .*ConvLSTM2D has neither.*Remedy: process frames with Conv2D"):
        plan(model, INT8)


def test_lstm_beside_a_lowered_layer_is_refused():
    import tensorflow as tf

    model = model_of(tf.keras.layers.GRU(4, return_sequences=True), recurrent_layer("lstm"))
    with pytest.raises(ModelError, match=r"layer cell: .*a fused LSTM and a GRU.*Remedy: make all recurrent layers"):
        plan(model, INT8)
    assert [layer.mode for layer in plan(model, Float32())] == ["loop", "fused"]


@pytest.mark.parametrize("name", ["Conv1D", "GlobalAveragePooling1D", "Bidirectional"])
def test_layers_that_see_several_time_steps_cannot_be_streamed(name):
    import tensorflow as tf

    layers = tf.keras.layers
    match name:
        case "Conv1D":
            model = model_of(layers.Conv1D(4, 3, name="seen"), recurrent_layer("gru"))
        case "GlobalAveragePooling1D":
            model = model_of(recurrent_layer("gru", return_sequences=True), layers.GlobalAveragePooling1D(name="seen"))
        case _:
            model = model_of(layers.Bidirectional(layers.GRU(4), name="seen"))
    with pytest.raises(ModelError, match=r"layer seen.*Remedy: use `recurrent: sequence`"):
        plan(model, INT8, "streaming")
    assert plan(model, INT8, "sequence")
