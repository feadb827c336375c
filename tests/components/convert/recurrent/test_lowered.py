"""Lowered models as files: integers only, their states tied, near the floats at each step, the same in both forms."""

import re

import numpy as np
import pytest

from components.spec.scheme import Float32, StaticWi8Ai8, StaticWi8Ai16
from tests.components.cells.conftest import *  # noqa: F403 - fixtures
from tests.components.cells.conftest import FEATURES, KINDS, STEPS, UNITS, randomized
from tests.components.cells.oracles import relative_errors, states_by_numpy


@pytest.fixture(scope="session")
def lowered(make_model, sequences, tmp_path_factory):
    import functools

    from components.convert.recurrent.backend import convert_lowered
    from components.model.keras_model import save_keras

    @functools.cache
    def saved(kind, **options):
        folder = tmp_path_factory.mktemp("model")
        model = make_model(kind, **options) if isinstance(kind, str) else kind
        save_keras(model, folder)
        return model, folder

    @functools.cache
    def convert(kind, scheme, form, **options):
        model, folder = saved(kind, **options)
        examples = iter([({"x": one[None]}, {}) for one in sequences])
        made = tmp_path_factory.mktemp("lowered")
        return model, convert_lowered(folder, scheme, form, examples, made, lambda _: None)

    return convert


def predicted(content, sequences):
    from components.model.tflite_runtime import TFLiteModel

    return TFLiteModel(content).predict({"x": sequences})["p"]


def integers(detail, values):
    scale, zero_point = detail["quantization"]
    held = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, held.min, held.max).astype(detail["dtype"])


def reals(detail, values):
    scale, zero_point = detail["quantization"]
    return scale * (values.astype(np.float64) - zero_point)


def interpreter(content, **options):
    """Without the delegate, whose kernels round a last bit otherwise."""
    import tensorflow as tf

    plain = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=plain, **options)


def stepped(content, sequences):
    """The integer states after each step of a streaming file with one state, [N, T, U], and the state's details."""
    runner = interpreter(content).get_signature_runner()
    details = runner.get_input_details()
    (name,) = (one for one in details if one.startswith("state_"))
    frames = integers(details["x"], sequences)
    states = []
    for sequence in frames:
        state = np.full(details[name]["shape"], details[name]["quantization"][1], details[name]["dtype"])
        for frame in sequence:
            state = runner(**{"x": frame[None], name: state})[name.replace("state_", "next_")]
            states.append(state[0])
    return np.reshape(states, [*sequences.shape[:2], -1]), details[name]


def traced(content, sequences):
    """The same of a file that takes sequences."""
    whole = interpreter(content, experimental_preserve_all_tensors=True)
    whole.allocate_tensors()
    details = {}
    for detail in whole.get_tensor_details():
        for step in re.findall(r"/step_(\d+)/after_[ch]\b", detail["name"]):
            details[int(step)] = detail
    (taken,) = whole.get_input_details()
    states = []
    for sequence in sequences:
        whole.set_tensor(taken["index"], integers(taken, sequence[None]))
        whole.invoke()
        states.append([whole.get_tensor(details[step]["index"])[0] for step in range(STEPS)])
    (quantization,) = {detail["quantization"] for detail in details.values()}
    return np.array(states), {"quantization": quantization}


# In 16 bits, one of each family of cells. Their variants differ from them as in 8 bits.
KINDS_OF_16_BITS = ("gru", "sru", "rnn")


@pytest.mark.parametrize(
    ("form", "scheme", "kind"),
    [
        *(("streaming", StaticWi8Ai8(), kind) for kind in KINDS),
        *(("sequence", StaticWi8Ai8(), kind) for kind in KINDS),
        *(("streaming", StaticWi8Ai16(), kind) for kind in KINDS_OF_16_BITS),
    ],
)
def test_lowered_file_is_of_integers_only_and_near_the_float_model(kind, form, scheme, lowered, sequences):
    from components.convert.checks.scheme_check import scheme_violations
    from components.model.tflite_file import inspect_model

    model, made = lowered(kind, scheme, form)
    inspection = inspect_model(made.content)
    assert scheme_violations(scheme, inspection) == []
    assert inspection.integer_only
    assert "WHILE" not in {use.name for use in inspection.operators}
    # int8 products of 8 units; 16-bit activations leave the weights' own error.
    assert np.abs(predicted(made.content, sequences) - model(sequences).numpy()).max() < 0.03
    states, detail = (stepped if form == "streaming" else traced)(made.content, sequences)
    errors = relative_errors(reals(detail, states), states_by_numpy(kind, model.get_layer("cell"), sequences)[1])
    assert 0 < errors.max() < (0.05 if scheme.kind == "static_wi8_ai8" else 0.025)
    assert made.state_errors.examples == 48
    # The delegate may round a last bit otherwise.
    np.testing.assert_allclose(made.state_errors.rms, errors, rtol=0.05)


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        *((StaticWi8Ai8(), kind) for kind in KINDS),
        *((StaticWi8Ai16(), kind) for kind in KINDS_OF_16_BITS),
    ],
)
def test_states_go_out_exactly_as_they_come_in(kind, scheme, lowered):
    _, made = lowered(kind, scheme, "streaming")
    (state,) = made.streaming.states
    assert (state.input, state.output) == (("state_cell_c", "next_cell_c") if "sru" in kind else
                                           ("state_cell_h", "next_cell_h"))  # fmt: skip
    assert state.shape == (1, FEATURES if kind == "sru_same" else UNITS)
    assert state.dtype == ("int8" if scheme.kind == "static_wi8_ai8" else "int16")
    assert state.scale > 0
    assert (made.streaming.frames, made.streaming.outputs) == (("x",), ("p",))


@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_compute_the_same_integers(kind, lowered, sequences):
    few = sequences[:8]
    states, detail = stepped(lowered(kind, StaticWi8Ai8(), "streaming")[1].content, few)
    inside, detail_inside = traced(lowered(kind, StaticWi8Ai8(), "sequence")[1].content, few)
    assert detail["quantization"] == detail_inside["quantization"]
    np.testing.assert_array_equal(inside, states)


@pytest.mark.parametrize("kind", KINDS)
def test_loop_over_one_time_step_computes_the_integers_of_all_of_them(kind, lowered, sequences):
    from components.convert.compaction import compacted
    from components.convert.recurrent.loop import looped

    content = lowered(kind, StaticWi8Ai8(), "sequence")[1].content
    assert_same_loop(content, looped(content), sequences)
    # Of an SRU, only the last time step has an output, so that one is outside of the loop.
    assert len(looped(content)) < len(compacted(content))


def assert_same_loop(content, loop, sequences):
    from components.model.tflite_file import inspect_model

    names = [use.name for use in inspect_model(loop).operators]
    assert "WHILE" in names
    assert not {"PACK"} & set(names)
    assert inspect_model(loop).integer_only
    assert inspect_model(loop).inputs[0].scale == inspect_model(content).inputs[0].scale
    runners = [interpreter(each).get_signature_runner() for each in (content, loop)]
    frames = integers(runners[0].get_input_details()["x"], sequences[:12])
    for sequence in frames:
        wanted, found = (runner(x=sequence[None])["p"] for runner in runners)
        np.testing.assert_array_equal(found, wanted)


def test_float_streaming_model_computes_what_the_model_does(lowered, sequences):
    model, made = lowered("gru", Float32(), "streaming")
    np.testing.assert_allclose(predicted(made.content, sequences), model(sequences), atol=1e-6)
    assert made.streaming.states[0].scale == 0
    assert made.state_errors.greatest < 1e-6


def test_output_of_each_step_is_returned_where_the_model_returns_sequences(lowered, sequences):
    model, made = lowered("gru", StaticWi8Ai8(), "streaming", return_sequences=True)
    found = predicted(made.content, sequences)
    assert found.shape == (48, STEPS, 3)
    assert np.abs(found - model(sequences).numpy()).max() < 0.03


def stacked():
    import tensorflow as tf

    from components.cells.sru import SRU

    tf.keras.utils.set_random_seed(5)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.BatchNormalization()(layers.TimeDistributed(layers.Dense(6, activation="relu"))(x))
    y = layers.GRU(UNITS, return_sequences=True, name="first")(y)
    y = SRU(6, return_sequences=True, name="second")(layers.Dropout(0.2)(y))
    y = layers.SimpleRNN(5, name="third")(y)
    y = layers.Dense(4, activation="relu")(y)
    return randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))


@pytest.fixture(scope="module")
def stacked_layers():
    return stacked()


@pytest.mark.parametrize("form", ["streaming", "sequence"])
def test_stacked_layers_with_dense_layers_around_them_are_lowered(form, lowered, sequences, stacked_layers):
    from components.model.tflite_file import inspect_model

    model, made = lowered(stacked_layers, StaticWi8Ai8(), form)
    assert inspect_model(made.content).integer_only
    assert np.abs(predicted(made.content, sequences) - model(sequences).numpy()).max() < 0.06
    if form == "sequence":
        from components.convert.recurrent.loop import looped

        assert_same_loop(made.content, looped(made.content), sequences)
        assert next(use.count for use in inspect_model(looped(made.content)).operators if use.name == "WHILE") == 3
    else:
        assert {state.input for state in made.streaming.states} == {"state_first_h", "state_second_c", "state_third_h"}


@pytest.mark.parametrize("form", ["streaming", "sequence"])
def test_pin_without_a_name_is_that_of_the_only_input_that_is_no_state(form, lowered, sequences, stacked_layers):
    from components.convert.pins import measured_pins, with_pins
    from components.model.tflite_file import inspect_model
    from components.spec.devices.pinned import PinnedTensor, Pins

    _, made = lowered(stacked_layers, StaticWi8Ai8(), form)
    pins = Pins(inputs=(PinnedTensor(scale=0.0625, zero_point=5, max_clipped=0.0),))
    content = with_pins(made.content, pins)
    (fact,) = measured_pins(made.content, content, pins, iter([({"x": one[None]}, {}) for one in sequences]))
    assert (fact.name, fact.requantized, fact.clipped) == ("x", True, 0.0)
    before, after = (
        {one.signature: (one.scale, one.zero_point) for one in inspect_model(each).inputs}
        for each in (made.content, content)
    )
    assert after == {**before, "x": (0.0625, 5)}
    # Two roundings of the input instead of one.
    assert np.abs(predicted(content, sequences) - predicted(made.content, sequences)).max() < 0.06


def test_convolutions_before_and_after_are_taken_in_a_sequence(lowered, sequences):
    import tensorflow as tf

    from components.convert.recurrent.loop import looped
    from components.model.tflite_file import inspect_model

    tf.keras.utils.set_random_seed(5)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.Conv1D(6, 3, padding="same", activation="relu")(x)
    y = layers.Bidirectional(layers.GRU(UNITS, return_sequences=True))(y)
    y = layers.GlobalAveragePooling1D()(layers.Conv1D(4, 3, activation="relu")(y))
    model = randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))
    _, made = lowered(model, StaticWi8Ai8(), "sequence")
    assert inspect_model(made.content).integer_only
    assert np.abs(predicted(made.content, sequences) - model(sequences).numpy()).max() < 0.06
    loop = looped(made.content)
    assert_same_loop(made.content, loop, sequences)
    assert next(use.count for use in inspect_model(loop).operators if use.name == "WHILE") == 2
    assert_runs_on_a_microcontroller(loop, sequences[:4])


def merged(mode, outputs):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(5)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.Bidirectional(layers.GRU(5, return_sequences=True), merge_mode=mode, name="both")(x)
    if not outputs:
        y = layers.Concatenate()(y) if mode is None else y
        y = layers.Dense(3, activation="softmax", name="p")(layers.GlobalAveragePooling1D()(y))
    return randomized(tf.keras.Model(x, y))


@pytest.mark.parametrize("mode", ["ave", "sum", "mul", None])
@pytest.mark.parametrize("outputs", [False, True])
def test_both_directions_are_merged_in_every_mode(lowered, sequences, mode, outputs):
    import tensorflow as tf

    from components.model.keras_model import output_names
    from components.model.tflite_file import inspect_model
    from components.model.tflite_runtime import TFLiteModel

    model, made = lowered(merged(mode, outputs), StaticWi8Ai8(), "sequence")
    assert inspect_model(made.content).integer_only
    found = TFLiteModel(made.content).predict({"x": sequences})
    wanted = dict(zip(output_names(model), tf.nest.flatten(model(sequences)), strict=True))
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        assert np.abs(found[name] - values.numpy()).max() < 0.06


def trained_under_quantization(model, sequences, folder):
    """The trained model, its integer file, and the trained ranges, all of which the file keeps."""
    import tensorflow as tf

    from components.convert.checks.scheme_check import lost_ranges
    from components.convert.recurrent.backend import convert_trained
    from components.fake_quantize.qat import quantized, trained_ranges
    from components.lowering.deploy import deploy
    from components.model.tflite_file import inspect_model
    from components.spec.steps.qat import QatStep

    model = quantized(model, QatStep(kind="qat", epochs=1), StaticWi8Ai8(), steps_per_epoch=1)
    model.compile(tf.keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(sequences, np.arange(len(sequences)) % 3, batch_size=16, verbose=0)
    ranges = trained_ranges(model)
    deploy(model, "sequence", folder, ("p",), {"x": sequences})
    made = convert_trained(folder, StaticWi8Ai8(), "sequence", lambda _: None)
    assert inspect_model(made.content).integer_only
    assert lost_ranges(made.content, ranges) == ()
    return model, made.content, ranges


@pytest.mark.parametrize("mode", ["ave", None])
def test_both_directions_train_under_quantization_in_every_mode(sequences, tmp_path, mode):
    model = merged(mode, outputs=False)
    model, content, _ = trained_under_quantization(model, sequences, tmp_path)
    assert np.abs(predicted(content, sequences) - model(sequences, training=False).numpy()).max() < 0.03


def assert_runs_on_a_microcontroller(content, sequences):
    runtime = pytest.importorskip("tflite_micro").runtime
    there, here = runtime.Interpreter.from_bytes(content, arena_size=200_000), interpreter(content)
    runner = here.get_signature_runner()
    for frames in integers(runner.get_input_details()["x"], sequences):
        there.set_input(frames[None], 0)
        there.invoke()
        # Kernels round the last bit in their own way.
        assert np.abs(there.get_output(0).astype(int) - runner(x=frames[None])["p"]).max() <= 2


def test_percentile_ranges_clip_what_min_max_keeps(lowered):
    _, made = lowered("gru", StaticWi8Ai8(calibration_method={"kind": "percentile", "percentile": 97}), "streaming")
    clipped = {one.tensor: one.clipped for one in made.ranges}
    assert clipped["cell/sum_z"] > 0.1


def test_static_scheme_without_a_sample_is_refused(make_model, tmp_path):
    from components.convert.recurrent.backend import convert_lowered
    from components.core.errors import SpecError
    from components.model.keras_model import save_keras

    save_keras(make_model("gru"), tmp_path)
    with pytest.raises(SpecError, match="calibrate: the scheme static_wi8_ai8 measures ranges of activations"):
        convert_lowered(tmp_path, StaticWi8Ai8(), "streaming", None, tmp_path, lambda _: None)


def test_trained_ranges_of_both_directions_of_an_sru_reach_the_file(sequences, tmp_path):
    import tensorflow as tf

    from components.cells.sru import SRU

    tf.keras.utils.set_random_seed(5)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.Bidirectional(SRU(7), name="both")(x)
    model = randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))
    model, content, ranges = trained_under_quantization(model, sequences, tmp_path)
    held = {one.tensor: one.scale for one in ranges}
    assert held["both/forward/h"] == held["both/backward/h"] != held["both/forward/c"]
    assert np.abs(predicted(content, sequences) - model(sequences, training=False).numpy()).max() < 0.01
