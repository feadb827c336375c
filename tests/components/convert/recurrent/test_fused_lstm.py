"""LSTMs as fused integer operators: also behind one another, calibrated from a reset state, with trained ranges."""

import numpy as np
import pytest

from components.core.errors import ConversionError
from components.spec.scheme import StaticWi8Ai8
from tests.components.cells.conftest import *  # noqa: F403 - fixtures
from tests.components.cells.conftest import FEATURES, STEPS, randomized
from tests.components.cells.oracles import lstm, relative_errors


def stacked():
    import tensorflow as tf

    tf.keras.utils.set_random_seed(2)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.LSTM(5, name="second")(layers.LSTM(7, return_sequences=True, name="first")(x))
    return randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))


@pytest.fixture(scope="module")
def converted(sequences, tmp_path_factory):
    from components.convert.recurrent.backend import known_cells, with_fixed_batch
    from components.convert.tensorflow.converter import convert
    from components.model.keras_model import save_keras

    folder = tmp_path_factory.mktemp("lstm")
    model = stacked()
    save_keras(model, folder)
    known = known_cells(folder, iter([({"x": one[None]}, {}) for one in sequences]))
    saved = with_fixed_batch(folder, folder / "fixed")
    content = convert(saved, StaticWi8Ai8(), lambda: iter([{"x": one[None]} for one in sequences]), known=known)
    return model, known, content


def test_stacked_lstms_are_both_fused_and_the_inspection_names_their_bits(converted):
    from components.model.tflite_file import inspect_model

    inspection = inspect_model(converted[2])
    assert inspection.integer_only
    assert len(inspection.cells) == 2
    for cell in inspection.cells:
        types = {tensor.role: tensor.dtype for tensor in cell.tensors}
        assert types["cell state"] == "INT16"
        assert types["input"] == types["hidden state"] == types["output"] == "INT8"
        assert types["weights of hidden state to forget gate"] == "INT8"
        assert types["bias of cell gate"] == "INT32"


def test_integer_lstm_is_near_the_float_model_for_each_sequence_alone(converted, sequences):
    from components.model.tflite_runtime import TFLiteModel

    model, _, content = converted
    found = TFLiteModel(content).predict({"x": sequences})["p"]
    assert np.abs(found - model(sequences).numpy()).max() < 0.03


def test_range_of_the_cell_state_is_that_inside_the_sequences(converted, sequences):
    model, known, _ = converted
    _, states = lstm(sequences, *model.get_layer("first").get_weights())
    first = next(cell for cell in known.cells if cell.kernel.shape == (7, FEATURES))
    np.testing.assert_allclose(first.cell, (states.min(), states.max()), rtol=1e-5)


def test_hidden_states_are_held_to_the_float_models_after_each_time_step(converted, sequences):
    from dataclasses import replace

    from components.convert.recurrent.state_errors import fused_state_errors

    model, known, content = converted
    first = next(cell for cell in known.cells if cell.kernel.shape == (7, FEATURES))
    second = next(cell for cell in known.cells if cell is not first)
    hidden, _ = lstm(sequences, *model.get_layer("first").get_weights())
    np.testing.assert_allclose(first.states, hidden, atol=1e-5)
    above, _ = lstm(hidden, *model.get_layer("second").get_weights())
    np.testing.assert_allclose(second.states, above, atol=1e-5)
    found = fused_state_errors(content, known)
    assert (found.examples, len(found.rms), len(found.worst)) == (len(sequences), STEPS, STEPS)
    # The file hands out what each layer returns after each step.
    per_layer = [
        relative_errors(*pair) for pair in zip(hidden_states(content, sequences), (hidden, above), strict=True)
    ]
    np.testing.assert_allclose(found.rms, np.max(per_layer, axis=0), rtol=1e-3)
    assert 0.001 < min(found.rms) < max(found.rms) < 0.05
    # Half of the root mean square away from where it is, after the third step alone.
    moved = hidden.copy()
    moved[:, 2] += 0.5 * np.sqrt(np.mean(hidden**2))
    cells = [replace(first, states=moved), second]
    errors = fused_state_errors(content, replace(known, cells=cells)).rms
    assert errors[2] == pytest.approx(0.5, abs=0.05)
    assert max(errors[:2] + errors[3:]) < 0.05
    stranger = [first, replace(second, kernel=second.kernel + 0.5)]
    with pytest.raises(ConversionError, match="cannot be found in the file by its weights"):
        fused_state_errors(content, replace(known, cells=stranger))


def hidden_states(content, sequences):
    """What each LSTM of a file returns after each step, in the file's order, in real values [N, T, U]."""
    import tensorflow as tf
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    kinds = [code.builtinCode for code in file.operatorCodes]
    outputs = [
        operator.outputs[0]
        for operator in file.subgraphs[0].operators
        if kinds[operator.opcodeIndex] == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    ]
    interpreter = tf.lite.Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    details = {detail["index"]: detail["quantization"] for detail in interpreter.get_tensor_details()}
    (taken,) = interpreter.get_input_details()
    scale, zero_point = taken["quantization"]
    found = [[] for _ in outputs]
    for sequence in np.clip(np.rint(sequences / scale) + zero_point, -128, 127).astype(np.int8):
        interpreter.reset_all_variables()
        interpreter.set_tensor(taken["index"], sequence[None])
        interpreter.invoke()
        for states, index in zip(found, outputs, strict=True):
            held, zero = details[index]
            states.append(held * (interpreter.get_tensor(index)[0].astype(np.float64) - zero))
    return [np.stack(states) for states in found]


def trained(model, sequences, labels, folder, epochs=2, losses="sparse_categorical_crossentropy"):
    """A model trained under quantization, its ranges, and its file."""
    import tensorflow as tf

    from components.convert.recurrent.backend import convert_trained_lstm
    from components.fake_quantize.qat import quantized, trained_ranges
    from components.lowering.deploy import deploy
    from components.spec.steps.qat import QatStep

    scheme = StaticWi8Ai8()
    model = quantized(model, QatStep(kind="qat", epochs=1), scheme, steps_per_epoch=1)
    names = list(losses) if isinstance(losses, dict) else ["p"]
    model.output_names = names
    model.compile(tf.keras.optimizers.Adam(1e-3), losses)
    model.fit(sequences, labels, batch_size=16, epochs=epochs, verbose=0)
    ranges = trained_ranges(model)
    deploy(model, "sequence", folder, names, {"x": sequences})
    return model, ranges, convert_trained_lstm(folder, scheme, ranges, lambda _: None)


def test_trained_ranges_reach_the_fused_operator(sequences, tmp_path):
    from components.convert.checks.scheme_check import lost_ranges
    from components.model.tflite_file import inspect_model
    from components.model.tflite_runtime import TFLiteModel

    model, ranges, made = trained(stacked(), sequences, np.arange(len(sequences)) % 3, tmp_path)
    assert inspect_model(made.content).integer_only
    assert lost_ranges(made.content, ranges) == ()
    # The kernel's own tables for tanh and sigmoid are all that training does not see.
    found = TFLiteModel(made.content).predict({"x": sequences})["p"]
    assert np.abs(found - model(sequences, training=False).numpy()).max() < 0.02
    held = {one.tensor: (one.low, one.high) for one in ranges}
    assert np.log2(-held["first/c"][0]) % 1 == 0
    taken = {"first": "input x", "second": "first/h"}
    for (name, source), (entering, hidden, cell, leaving) in zip(
        taken.items(), scales(made.content)["UNIDIRECTIONAL_SEQUENCE_LSTM"], strict=True
    ):
        assert_affine(entering, *held[source])
        assert_affine(hidden, *held[f"{name}/h"])
        assert cell == (-held[f"{name}/c"][0] / 2**15, 0)
        assert leaving == hidden


def test_trained_ranges_reach_each_of_several_outputs(sequences, tmp_path):
    import tensorflow as tf

    from components.convert.checks.scheme_check import lost_ranges
    from components.lowering.preflight import plan_layers
    from components.model.tflite_runtime import TFLiteModel

    tf.keras.utils.set_random_seed(2)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.LSTM(7, name="memory")(x)
    # The range of a number differs from that of probabilities. The converter orders outputs by name.
    ends = [layers.Dense(3, activation="softmax", name="p")(y), layers.Dense(1, name="n")(y)]
    built = randomized(tf.keras.Model(x, ends))
    plan_layers(built, StaticWi8Ai8(), None, trained=True)
    labels = {"p": np.arange(len(sequences)) % 3, "n": np.linspace(-9, 9, len(sequences))}
    losses = {"p": "sparse_categorical_crossentropy", "n": "mse"}
    model, ranges, made = trained(built, sequences, labels, tmp_path, losses=losses)
    assert lost_ranges(made.content, ranges) == ()
    found = TFLiteModel(made.content).predict({"x": sequences})
    for name, wanted in zip(("p", "n"), model(sequences, training=False), strict=True):
        assert np.abs(found[name] - wanted.numpy()).max() < 0.02 * np.ptp(wanted.numpy()), name


def both_ways(kind):
    """A model with a bidirectional LSTM, whose outputs are merged in one of the ways there are."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(2)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    options = {} if kind in ("stacked", "last") else {"merge_mode": kind}
    y = layers.Bidirectional(layers.LSTM(7, return_sequences=kind == "stacked"), name="both", **options)(x)
    if kind == "stacked":
        y = layers.Bidirectional(layers.LSTM(5), name="top")(y)
    if kind is None:
        y = layers.Add()(y)
    return randomized(tf.keras.Model(x, layers.Dense(3, activation="softmax", name="p")(y)))


def assert_affine(found, low, high):
    """(scale, zero point) of 8 bits whose smallest and largest integer are the ends of a range."""
    scale, zero_point = found
    assert scale == pytest.approx((high - low) / 255, rel=1e-5)
    assert zero_point == round(-128 - low / scale)


def scales(content):
    """Kind of operator -> for each, (scale, zero point) of inputs, of an LSTM's hidden and cell state, and outputs."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    graph = model.subgraphs[0]
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}

    def of(index):
        held = graph.tensors[index].quantization
        return (float(held.scale[0]), int(held.zeroPoint[0]))

    found = {}
    for operator in graph.operators:
        kind = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        taken = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (0, 18, 19), "CONCATENATION": (0, 1)}
        ends = [of(operator.inputs[place]) for place in taken.get(kind, (0,))]
        found.setdefault(kind, []).append((*ends, of(operator.outputs[0])))
    return found


@pytest.mark.parametrize("kind", ["ave", None])
def test_directions_that_are_averaged_or_not_merged_train_under_quantization(sequences, tmp_path, kind):
    from components.convert.checks.scheme_check import lost_ranges
    from components.model.tflite_file import inspect_model
    from components.model.tflite_runtime import TFLiteModel

    model, ranges, made = trained(both_ways(kind), sequences, np.arange(len(sequences)) % 3, tmp_path)
    assert inspect_model(made.content).integer_only
    # The converter multiplies the dense layer's weights by the factor of the average.
    assert lost_ranges(made.content, ranges) == (("both",) if kind == "ave" else ())
    found = TFLiteModel(made.content).predict({"x": sequences})["p"]
    assert np.abs(found - model(sequences, training=False).numpy()).max() < 0.03


@pytest.mark.parametrize("kind", ["stacked", "sum"])
def test_trained_ranges_of_both_directions_reach_the_file(sequences, tmp_path, kind):
    from components.convert.checks.scheme_check import lost_ranges
    from components.model.tflite_file import inspect_model
    from components.model.tflite_runtime import TFLiteModel

    model, ranges, made = trained(both_ways(kind), sequences, np.arange(len(sequences)) % 3, tmp_path)
    assert inspect_model(made.content).integer_only
    assert lost_ranges(made.content, ranges) == ()
    # Also of what runs from the end to the beginning.
    assert (made.state_errors.examples, len(made.state_errors.rms)) == (len(sequences), STEPS)
    assert max(made.state_errors.rms) < 0.1
    found = scales(made.content)
    # What enters a direction, what it keeps, what it hands out.
    lstms = found["UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert len(lstms) == (4 if kind == "stacked" else 2)
    held = {one.tensor: (one.low, one.high) for one in ranges}
    for entering, hidden, _, leaving in lstms:
        assert hidden == leaving
        assert_affine(entering, *held["input x" if entering == lstms[0][0] else "both/forward/h"])
    assert sorted(hidden[0] for _, hidden, _, _ in lstms) == pytest.approx(
        sorted((high - low) / 255 for name, (low, high) in held.items() if name.endswith("ward/h")), rel=1e-5
    )
    for before, after in found["REVERSE_V2"]:
        assert before == after
    for first, second, result in found.get("CONCATENATION", []):
        assert first == second == result
    # A concatenation has one range with both hidden states, the least that holds them; a sum takes two ranges.
    forward, backward = held["both/forward/h"], held["both/backward/h"]
    assert (forward == backward) == ("both" not in held) == (kind == "stacked")
    layers = [model.get_layer(f"both/{name}") for name in ("forward", "backward")]
    own = [(float(one._ranges["h"]["min_var"]), float(one._ranges["h"]["max_var"])) for one in layers]
    assert own[0] != own[1]
    if kind == "stacked":
        union = min(low for low, _ in own), max(high for _, high in own)
        np.testing.assert_allclose(forward, union, atol=(forward[1] - forward[0]) / 255 / 2)
    # The kernel's own tables for tanh and sigmoid are all that training does not see.
    outputs = TFLiteModel(made.content).predict({"x": sequences})["p"]
    assert np.abs(outputs - model(sequences, training=False).numpy()).max() < 0.006


def test_bidirectional_lstm_keeps_its_accuracy_when_trained_under_quantization(tmp_path):
    import tensorflow as tf

    from components.convert.checks.scheme_check import lost_ranges
    from components.model.tflite_runtime import TFLiteModel

    # Whether the loud frame at the beginning and the one at the end have one sign: neither direction knows alone.
    random = np.random.default_rng(4)
    x = random.normal(0, 0.3, (600, STEPS, FEATURES)).astype(np.float32)
    signs = random.choice([-2.0, 2.0], (600, 2)).astype(np.float32)
    x[:, 0, 0] += signs[:, 0]
    x[:, -1, 0] += signs[:, 1]
    y = (signs[:, 0] == signs[:, 1]).astype(np.int64)
    model = both_ways("last")
    model.compile(tf.keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x[:400], y[:400], batch_size=50, epochs=10, verbose=0)
    accuracy = float(np.mean(model(x[400:]).numpy().argmax(1) == y[400:]))
    assert accuracy > 0.95
    _, ranges, made = trained(model, x[:400], y[:400], tmp_path, epochs=1)
    assert lost_ranges(made.content, ranges) == ()
    found = TFLiteModel(made.content).predict({"x": x[400:]})["p"].argmax(1)
    assert float(np.mean(found == y[400:])) >= accuracy - 0.01


def test_bidirectional_lstm_that_was_not_trained_so_is_near_float_and_the_same_on_a_microcontroller(
    sequences, tmp_path
):
    from components.convert.recurrent.backend import known_cells, with_fixed_batch
    from components.convert.tensorflow.converter import convert
    from components.device_check.tflm import measure_with_tflm
    from components.model.keras_model import save_keras
    from components.model.tflite_runtime import TFLiteModel
    from components.spec.devices.device_tools import TflmEvaluator

    model = both_ways("last")
    save_keras(model, tmp_path)
    sample = [{"x": one[None]} for one in sequences]
    known = known_cells(tmp_path, iter([(one, {}) for one in sample]))
    saved = with_fixed_batch(tmp_path, tmp_path / "fixed")
    content = convert(saved, StaticWi8Ai8(), lambda: iter(sample), known=known)
    assert all(hidden == leaving for _, hidden, _, leaving in scales(content)["UNIDIRECTIONAL_SEQUENCE_LSTM"])
    found = TFLiteModel(content).predict({"x": sequences})["p"]
    assert np.abs(found - model(sequences).numpy()).max() < 0.006
    assert measure_with_tflm(content, {"x": sequences}, TflmEvaluator()).outputs[0].max_lsb <= 1


def test_lstms_of_small_states_and_of_two_lengths_are_near_float(sequences, tmp_path):
    import tensorflow as tf

    from components.convert.recurrent.backend import known_cells, with_fixed_batch
    from components.convert.recurrent.state_errors import fused_state_errors
    from components.convert.tensorflow.converter import convert
    from components.model.keras_model import save_keras
    from components.model.tflite_runtime import TFLiteModel

    tf.keras.utils.set_random_seed(2)
    layers = tf.keras.layers
    x = layers.Input([STEPS, FEATURES], name="x")
    y = layers.RepeatVector(STEPS - 2)(layers.LSTM(5, name="reader")(x))
    model = tf.keras.Model(x, layers.LSTM(6, name="writer")(y))
    for weights in model.weights:
        weights.assign(weights * 0.3)
    save_keras(model, tmp_path)
    known = known_cells(tmp_path, iter([({"x": one[None]}, {}) for one in sequences]))
    # The kernel has no table for cell states within 0.5: it would return what its memory held.
    assert all(max(map(abs, cell.cell)) < 0.5 for cell in known.cells)
    saved = with_fixed_batch(tmp_path, tmp_path / "fixed")
    content = convert(saved, StaticWi8Ai8(), lambda: iter([{"x": one[None]} for one in sequences]), known=known)
    (found,) = TFLiteModel(content).predict({"x": sequences}).values()
    wanted = model(sequences).numpy()
    assert np.abs(found - wanted).max() < 0.1 * np.ptp(wanted)
    errors = fused_state_errors(content, known)
    assert len(errors.rms) == len(errors.worst) == STEPS
    assert max(errors.rms) < 0.2
