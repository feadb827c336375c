"""Files rewritten in fewer bytes: what is left out, and that nothing computes otherwise."""

import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from components.convert.checks.sparse import outputs, random_inputs
from components.convert.compaction import compacted
from components.model.tflite_file import inspect_model
from components.spec.scheme import (
    DynamicWi8Afp32,
    Float16,
    Float32,
    StaticWi8Ai8,
    StaticWi8Ai16,
)
from tests.components.convert.checks.test_sparse import in_fours, in_sixteens  # noqa: F401 - fixtures

STEPS, FEATURES, UNITS = 50, 24, 64


def read(content):
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def plain(value, buffers):
    """An object of the format as dicts and lists, with what a buffer holds in the place of its number."""
    if isinstance(value, list):
        return [plain(one, buffers) for one in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if not hasattr(value, "__dict__"):
        return value
    fields = {name: plain(one, buffers) for name, one in vars(value).items()}
    if isinstance(value, schema.TensorT | schema.MetadataT):
        fields["buffer"] = buffers[value.buffer]
    return fields


def meaning(content):
    """What a file says to a runtime."""
    model = read(content)
    buffers = [b"" if one.data is None else np.asarray(one.data, np.uint8).tobytes() for one in model.buffers]
    held = plain(model, buffers)
    for graph in held["subgraphs"]:
        for tensor in graph["tensors"]:
            tensor.pop("name")
            scales = tensor["quantization"] or {"scale": None}
            for name in ("min", "max"):
                scales.pop(name, None)
            tensor["quantization"] = scales if scales["scale"] else None
    return {name: held[name] for name in ("version", "operatorCodes", "subgraphs", "signatureDefs")}


def metadata(content):
    model = schema.Model.GetRootAs(content)
    held = [model.Metadata(index) for index in range(model.MetadataLength())]
    return [(one.Name(), model.Buffers(one.Buffer()).DataAsNumpy().tobytes()) for one in held]


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    """Scheme -> file of an LSTM of 64 units; all biases differ, as they do after training."""
    import tensorflow as tf

    from components.convert.recurrent.backend import known_cells, with_fixed_batch
    from components.convert.tensorflow.converter import convert
    from components.model.keras_model import save_keras

    tf.keras.utils.set_random_seed(3)
    layers = tf.keras.layers
    motion = layers.Input([STEPS, FEATURES], name="motion")
    x = layers.LSTM(UNITS, name="memory")(motion)
    exercise = layers.Dense(7, activation="softmax", name="exercise")(x)
    model = tf.keras.Model(motion, exercise, name="model")
    random = np.random.default_rng(1)
    model.set_weights([w + random.normal(0, 0.05, w.shape).astype(np.float32) for w in model.get_weights()])
    sample = random.normal(size=(8, 1, STEPS, FEATURES)).astype(np.float32)
    folder = tmp_path_factory.mktemp("lstm64")
    save_keras(model, folder)
    known = known_cells(folder, iter([({"motion": one}, {}) for one in sample]))
    saved = with_fixed_batch(folder, folder / "fixed")
    return {
        scheme.kind: convert(saved, scheme, lambda: iter([{"motion": one} for one in sample]), known=known)
        for scheme in (Float32(), Float16(), DynamicWi8Afp32(), StaticWi8Ai8())
    }


@pytest.fixture(scope="module")
def files(request, convnet, lstm):
    """Name -> a file as the converter wrote it."""
    from components.convert.tensorflow.converter import convert

    held = {f"lstm {kind}": content for kind, content in lstm.items()}
    for scheme in (Float32(), Float16(), StaticWi8Ai8(), StaticWi8Ai8(granularity="per_tensor"), StaticWi8Ai16()):
        name = f"convnet {scheme.kind} {getattr(scheme, 'granularity', '')}".strip()
        held[name] = convert(convnet.saved_model, scheme, convnet.samples)
    for name, scheme in (("in_fours", Float32()), ("in_sixteens", StaticWi8Ai8())):
        held[f"sparse {scheme.kind}"] = request.getfixturevalue(name).convert(scheme, sparse=True)
    return held


def test_integer_lstm_of_64_units_is_three_and_a_half_times_smaller_when_both_files_are_compact(lstm):
    whole, integers = lstm["float32"], lstm["static_wi8_ai8"]
    assert len(whole) / len(integers) < 3.4
    assert len(compacted(whole)) / len(compacted(integers)) >= 3.5
    assert len(integers) - len(compacted(integers)) > 1500
    assert len(whole) - len(compacted(whole)) > 1000
    # What is not data: the format's own tables, and names. TensorFlow 2.21 needs 32 bytes more of them than 2.16.
    model = schema.Model.GetRootAs(compacted(integers))
    data = sum(model.Buffers(index).DataLength() for index in range(model.BuffersLength()))
    assert len(compacted(integers)) - data < 2850


def test_outputs_are_the_same_to_the_bit_with_delegates_and_without(files):
    for name, content in files.items():
        small = compacted(content)
        probes = random_inputs(content)
        for delegates in (True, False):
            before, after = (outputs(one, probes, delegates=delegates) for one in (content, small))
            assert before.keys() == after.keys()
            for output, values in before.items():
                np.testing.assert_array_equal(values, after[output], err_msg=name)
        assert len(small) < len(content), name


def test_file_says_the_same_to_a_runtime(files):
    for name, content in files.items():
        assert meaning(compacted(content)) == meaning(content), name


def test_data_stays_aligned_and_equal_data_is_stored_once(files):
    for name, content in files.items():
        small = compacted(content)
        model = schema.Model.GetRootAs(small)
        assert len(small) % 16 == 0
        held = [model.Buffers(index) for index in range(model.BuffersLength())]
        assert held[0].DataIsNone()
        starts = [one._tab.Vector(one._tab.Offset(4)) for one in held[1:]]
        assert not [start for start in starts if start % 16], name
        assert len({one.DataAsNumpy().tobytes() for one in held[1:]}) == len(held) - 1


def test_compacting_again_changes_nothing(files):
    for content in files.values():
        small = compacted(content)
        assert compacted(small) == small


def test_version_for_the_runtime_stays_and_the_options_of_the_converter_go(lstm):
    before, after = metadata(lstm["static_wi8_ai8"]), metadata(compacted(lstm["static_wi8_ai8"]))
    assert b"CONVERSION_METADATA" in dict(before)
    # TensorFlow 2.16 writes two of the name: a runtime reads the first.
    versions = [one for one in before if one[0] == b"min_runtime_version"]
    assert after == versions[:1]
    assert after[0][1].rstrip(b"\0") == b"1.14.0"


def test_metadata_of_ones_own_stays(lstm):
    from components.model.tflite_flags import with_each_step

    after = metadata(compacted(with_each_step(lstm["float32"])))
    assert after[-1] == (b"edgemill_each_step", b"1" * 16)


def test_names_from_the_model_stay_and_the_inspection_counts_tensors_without(lstm):
    content = lstm["static_wi8_ai8"]
    before, after = ([one.name for one in read(file).subgraphs[0].tensors] for file in (content, compacted(content)))
    kept = [name for name in after if name]
    assert kept == [name for name in before if not name.startswith((b"tfl.", b"arith.")) and b"_inter" not in name]
    assert b"serving_default_motion:0" in kept
    assert any(b"model/exercise/MatMul" in name for name in kept)
    inspection = inspect_model(compacted(content))
    (largest, *_) = inspection.weights
    place = int(largest.name.removeprefix("tensor "))
    assert tuple(read(content).subgraphs[0].tensors[place].shape) == largest.shape == (UNITS, UNITS)
    same = {"weight_bytes", "operators", "dtype_counts", "stateful"}
    assert inspection.model_dump(include=same) == inspect_model(content).model_dump(include=same)


@pytest.mark.parametrize(("joined", "kept"), [(8, 8), (9, 2)])
def test_of_a_name_that_is_joined_from_many_only_the_ends_stay(lstm, joined, kept):
    model = read(lstm["static_wi8_ai8"])
    parts = [f"model/up/split{index}" for index in range(joined)]
    border = {*model.subgraphs[0].inputs, *model.subgraphs[0].outputs}
    inner = next(index for index, _ in enumerate(model.subgraphs[0].tensors) if index not in border)
    for index in (inner, model.subgraphs[0].outputs[0]):
        model.subgraphs[0].tensors[index].name = ";".join(parts).encode()
    tensors = read(compacted(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))).subgraphs[0].tensors
    assert tensors[inner].name.decode().split(";") == (parts if kept == joined else [parts[0], parts[-1]])
    assert tensors[model.subgraphs[0].outputs[0]].name.decode().split(";") == parts


def test_name_that_looks_made_up_stays_when_it_is_the_models_border(files):
    model = read(files["convnet float32"])
    model.signatureDefs = None
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        graph.tensors[index].name = f"tfl.border{index}".encode()
    small = compacted(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    facts = inspect_model(small)
    assert all(one.name.startswith("tfl.border") for one in (*facts.inputs, *facts.outputs))


def behind_the_flatbuffer(content):
    """The same file with the data of its buffers behind the flatbuffer."""
    model = read(content)
    behind = bytearray()
    held = [(buffer, bytes(buffer.data)) for buffer in model.buffers[1:] if buffer.data is not None]
    # Offsets that are not there yet take as much room as those that are.
    for buffer, data in held:
        buffer.data, buffer.offset, buffer.size = None, 1, len(data)
    start = -(-len(flatbuffer_utils.convert_object_to_bytearray(model)) // 16) * 16
    for buffer, data in held:
        buffer.offset = start + len(behind)
        behind += data + bytes(-len(data) % 16)
    front = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return front + bytes(start - len(front)) + bytes(behind)


def test_data_behind_the_flatbuffer_moves_into_it(files):
    for name, content in files.items():
        split = behind_the_flatbuffer(content)
        assert compacted(split) == compacted(content), name
        assert inspect_model(split).weight_bytes == inspect_model(content).weight_bytes


def test_device_tools_find_the_same_in_fewer_bytes(lstm):
    from components.device_check.tflm import measure_with_tflm
    from components.device_check.vela import measure_with_vela
    from components.spec.devices.device_tools import TflmEvaluator, VelaEvaluator

    content = lstm["static_wi8_ai8"]
    small = compacted(content)
    vela = VelaEvaluator(accelerator="ethos-u55-128", system_config="Ethos_U55_High_End_Embedded")
    count = sum(use.count for use in inspect_model(content).operators)
    before, after = (measure_with_vela(one, count, vela) for one in (content, small))
    assert after.compiled_bytes < before.compiled_bytes
    assert after.model_dump(exclude={"compiled_bytes"}) == before.model_dump(exclude={"compiled_bytes"})
    assert before.npu_operators == count
    sequences = {"motion": np.random.default_rng(5).normal(size=(4, STEPS, FEATURES)).astype(np.float32)}
    before, after = (measure_with_tflm(one, sequences, TflmEvaluator()) for one in (content, small))
    assert after == before
    # The desktop runtime's outputs, of the one file as of the other.
    assert before.outputs[0].max_lsb == 0


def test_stock_tfma_loads_the_file_and_finds_its_inputs_by_name(files, tmp_path):
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.extractors.tflite_predict_extractor import TFLitePredictionDoFn

    content = files["convnet static_wi8_ai8 per_channel"]
    config = tfma.EvalConfig(model_specs=[tfma.ModelSpec(model_type="tf_lite", label_key="label")])
    found = []
    for name, one in (("before", content), ("after", compacted(content))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tflite").write_bytes(one)
        shared = tfma.default_eval_shared_model(str(tmp_path / name), eval_config=config)
        stock = TFLitePredictionDoFn(config, {"": shared})
        stock.setup()
        features = {"image": np.random.default_rng(2).uniform(size=(3, 8, 8, 1)).astype(np.float32)}
        (extracts,) = stock._batch_reducible_process({tfma.FEATURES_KEY: features})
        found.append(extracts[tfma.PREDICTIONS_KEY])
    np.testing.assert_array_equal(*found)
    assert np.unique(found[1]).size > 3
