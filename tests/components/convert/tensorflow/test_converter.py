import numpy as np
import pytest
import tensorflow as tf

from components.convert.tensorflow.converter import convert
from components.convert.tensorflow.fixes import with_centered_products
from components.core.errors import ConversionError, DataError, ModelError, SpecError
from components.model.tflite_file import inspect_model
from components.spec.scheme import DynamicWi8Afp32, Float16, Float32, StaticWi8Ai8, StaticWi8Ai16
from components.upstream.tflite.converter import IGNORES_ZERO_POINTS
from components.upstream.tflite.objects import unpack

SCHEMES = [Float32(), Float16(), DynamicWi8Afp32(), StaticWi8Ai8(), StaticWi8Ai16()]


@pytest.fixture(scope="module")
def converted(convnet):
    files = {}

    def converted(scheme):
        if scheme not in files:
            files[scheme] = convert(convnet.saved_model, scheme, convnet.samples)
        return files[scheme]

    return converted


def run(content, **inputs):
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    for name, detail in runner.get_input_details().items():
        scale, zero_point = detail["quantization"]
        if scale:
            bounds = np.iinfo(detail["dtype"])
            steps = np.rint(inputs[name] / scale) + zero_point
            inputs[name] = np.clip(steps, bounds.min, bounds.max).astype(detail["dtype"])
    details = runner.get_output_details()
    return {
        name: (raw.astype(np.float32) - details[name]["quantization"][1]) * (details[name]["quantization"][0] or 1.0)
        for name, raw in runner(**inputs).items()
    }


def kernels(inspection):
    return {weight.shape: (weight.dtype, weight.bytes, weight.scales) for weight in inspection.weights}


# Bytes of the kernel [8, 3, 3, 1] and of the matrix [10, 288] in each format, and how many scales they have: this
# converter quantizes matrices per tensor.
@pytest.mark.parametrize(
    ("scheme", "kernel", "matrix", "border", "tolerance"),
    [
        (Float32(), ("FLOAT32", 288, 0), ("FLOAT32", 11520, 0), "FLOAT32", 1e-5),
        (Float16(), ("FLOAT16", 144, 0), ("FLOAT16", 5760, 0), "FLOAT32", 2e-3),
        (DynamicWi8Afp32(), ("FLOAT32", 288, 0), ("INT8", 2880, 1), "FLOAT32", 3e-2),
        (StaticWi8Ai8(), ("INT8", 72, 8), ("INT8", 2880, 1), "INT8", 5e-2),
        (StaticWi8Ai8(granularity="per_tensor"), ("INT8", 72, 1), ("INT8", 2880, 1), "INT8", 5e-2),
        (StaticWi8Ai8(float_io=True), ("INT8", 72, 8), ("INT8", 2880, 1), "FLOAT32", 5e-2),
        (StaticWi8Ai16(), ("INT8", 72, 8), ("INT8", 2880, 1), "INT16", 2e-2),
        (StaticWi8Ai16(granularity="per_tensor"), ("INT8", 72, 1), ("INT8", 2880, 1), "INT16", 2e-2),
    ],
    ids=lambda value: value.model_dump_json() if hasattr(value, "kind") else "",
)
def test_convert_yields_the_promised_numbers_when_scheme_is(
    converted, convnet, scheme, kernel, matrix, border, tolerance
):
    content = converted(scheme)
    inspection = inspect_model(content)
    weights = kernels(inspection)
    assert weights[(8, 3, 3, 1)] == kernel
    assert weights[(10, 288)] == matrix
    assert [tensor.dtype for tensor in inspection.inputs + inspection.outputs] == [border, border]
    assert inspection.integer_only == (border != "FLOAT32")
    counts = {use.name: use.count for use in inspection.operators}
    assert (counts["CONV_2D"], counts["FULLY_CONNECTED"]) == (1, 1)
    for image in convnet.images[:5]:
        expected = convnet.oracle(image)
        assert np.abs(run(content, image=image)["logits"] - expected).max() <= tolerance * np.abs(expected).max()


def test_convert_names_input_and_output_when_signature_has_names(converted):
    content = converted(Float32())
    inspection = inspect_model(content)
    assert [tensor.name for tensor in inspection.inputs] == ["serving_default_image:0"]
    assert inspection.inputs[0].shape == (1, 8, 8, 1)
    assert tf.lite.Interpreter(model_content=content).get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["logits"]}
    }


@pytest.mark.parametrize("scheme", [Float32(), StaticWi8Ai8()], ids=lambda scheme: scheme.kind)
def test_convert_yields_a_file_that_takes_batches_when_model_flattens(converted, convnet, scheme):
    interpreter = tf.lite.Interpreter(model_content=converted(scheme))
    (entry,), (exit_,) = interpreter.get_input_details(), interpreter.get_output_details()
    random = np.random.default_rng(1)
    batch = random.integers(0, 100, (5, 8, 8, 1)).astype(entry["dtype"])

    def outputs(images):
        interpreter.resize_tensor_input(entry["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(exit_["index"])

    singles = np.concatenate([outputs(batch[i : i + 1]) for i in range(5)])
    assert np.allclose(outputs(batch), singles, rtol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.kind)
def test_convert_yields_the_same_bytes_when_repeated(converted, convnet, scheme):
    assert convert(convnet.saved_model, scheme, convnet.samples) == converted(scheme)


@pytest.fixture(scope="module")
def mixed(save):
    def serve(zeta, alpha, middle):
        return {
            "difference": zeta - 3.0 * alpha,
            "a_half": zeta * 0.5,
            "next": tf.gather(tf.constant([5, 6, 7]), middle),
        }

    return save(
        serve,
        tf.TensorSpec([None, 4], tf.float32, name="zeta"),
        tf.TensorSpec([None, 4], tf.float32, name="alpha"),
        tf.TensorSpec([None, 1], tf.int32, name="middle"),
    )


@pytest.mark.parametrize("scheme", [Float32(), StaticWi8Ai8(), StaticWi8Ai16()], ids=lambda scheme: scheme.kind)
def test_convert_keeps_inputs_apart_when_there_are_several(mixed, scheme):
    random = np.random.default_rng(2)

    # Ranges differ tenfold: calibrating one input on the other's values would show.
    def sample():
        return {
            "alpha": random.uniform(-1, 1, (1, 4)).astype(np.float32),
            "middle": random.integers(0, 3, (1, 1)).astype(np.int32),
            "zeta": random.uniform(-10, 10, (1, 4)).astype(np.float32),
        }

    samples = [sample() for _ in range(50)]
    content = convert(mixed, scheme, lambda: iter(samples))
    for inputs in samples[:5]:
        outputs = run(content, **inputs)
        assert np.allclose(outputs["difference"], inputs["zeta"] - 3 * inputs["alpha"], atol=0.25)
        assert np.allclose(outputs["a_half"], inputs["zeta"] / 2, atol=0.1)
        assert outputs["next"].tolist() == (inputs["middle"] + 5).tolist()


def test_convert_fixes_the_batch_inside_loops_when_the_model_was_saved_with_it_open(save):
    def serve(steps):
        by_time = tf.transpose(steps, [1, 0, 2])
        return {"running": tf.transpose(tf.scan(lambda total, step: total + step, by_time), [1, 0, 2])}

    content = convert(save(serve, tf.TensorSpec([None, 6, 2], tf.float32, name="steps")), Float32(), None)
    assert {use.name: use.count for use in inspect_model(content).operators}["WHILE"] == 1
    steps = np.random.default_rng(4).normal(size=(1, 6, 2)).astype(np.float32)
    assert np.allclose(run(content, steps=steps)["running"], np.cumsum(steps, axis=1), atol=1e-5)


def test_convert_fuses_the_lstm_into_the_same_bytes_when_scheme_is_float16(save):
    import tf_keras

    tf_keras.utils.set_random_seed(7)
    sequence = tf_keras.Input((6, 5), name="sequence")
    model = tf_keras.Model(sequence, tf_keras.layers.LSTM(7)(sequence))
    spec = tf.TensorSpec([None, 6, 5], tf.float32, name="sequence")
    folder = save(lambda sequence: {"state": model(sequence)}, spec, variables=model.variables)
    content = convert(folder, Float16(), None)
    assert convert(folder, Float16(), None) == content
    inspection = inspect_model(content)
    assert {use.name: use.count for use in inspection.operators}["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert inspection.stateful
    assert {weight.dtype for weight in inspection.weights} == {"FLOAT16"}
    values = np.random.default_rng(3).normal(size=(1, 6, 5)).astype(np.float32)
    assert np.allclose(run(content, sequence=values)["state"], model(values), atol=2e-3)


@pytest.mark.parametrize("scheme", [StaticWi8Ai8(), StaticWi8Ai16()], ids=lambda scheme: scheme.kind)
def test_convert_asks_for_calibration_when_scheme_is_static(convnet, scheme):
    with pytest.raises(SpecError, match=f"{scheme.kind} measures ranges of activations.*declare `calibrate`"):
        convert(convnet.saved_model, scheme, None)


def test_convert_refuses_an_empty_sample_when_calibrating(convnet):
    with pytest.raises(DataError, match=r"sample is empty \(expected: at least 1 example; found: 0\)"):
        convert(convnet.saved_model, StaticWi8Ai8(), lambda: iter([]))


def test_convert_names_the_missing_input_when_sample_lacks_it(mixed):
    samples = [{"zeta": np.zeros((1, 4), np.float32)}]
    with pytest.raises(DataError, match=r"lack the model's input alpha, middle .*found: zeta from"):
        convert(mixed, StaticWi8Ai8(), lambda: iter(samples))


@pytest.mark.parametrize(("scheme", "tolerance"), [(Float32(), 1e-5), (StaticWi8Ai8(), 0.1)], ids=["float32", "int8"])
def test_convert_takes_a_product_of_two_vectors(save, scheme, tolerance):
    def multiply(left, right):
        product = tf.matmul(tf.expand_dims(left, 1), tf.expand_dims(right, 2))
        return {"score": tf.squeeze(product, [1])}

    specs = [tf.TensorSpec([None, 8], tf.float32, name=name) for name in ("left", "right")]
    folder = save(multiply, *specs)
    left, right = np.random.default_rng(6).normal(size=(2, 20, 1, 8)).astype(np.float32)
    content = convert(folder, scheme, lambda: ({"left": a, "right": b} for a, b in zip(left, right, strict=True)))
    score = run(content, left=left[0], right=right[0])["score"]
    np.testing.assert_allclose(score, np.sum(left[0] * right[0], 1, keepdims=True), atol=tolerance)


def test_second_operand_of_a_product_is_centered_once_and_the_product_stays_as_it_is(save):
    folder = save(
        lambda left, right: {"both": tf.matmul(left, right) + tf.matmul(left + 1.0, right)},
        *(tf.TensorSpec([None, 4, 4], tf.float32, name=name) for name in ("left", "right")),
    )
    left, right = np.random.default_rng(6).uniform(0.2, 1, size=(2, 20, 1, 4, 4)).astype(np.float32)
    made = convert(folder, StaticWi8Ai8(), lambda: ({"left": a, "right": b} for a, b in zip(left, right, strict=True)))
    content = with_centered_products(made)
    assert (content != made) == (not IGNORES_ZERO_POINTS)
    assert with_centered_products(content) == content
    graph = unpack(content).subgraphs[0]
    centered = [each for each in graph.tensors if each.name.endswith(b"/centered")]
    assert [list(each.quantization.zeroPoint) for each in centered] == [[0]]
    expected = left[0] @ right[0] + (left[0] + 1) @ right[0]
    np.testing.assert_allclose(run(content, left=left[0], right=right[0])["both"], expected, atol=0.25)


def test_convert_names_the_operators_when_tflite_lacks_them(save):
    folder = save(
        lambda x: {"s": tf.linalg.svd(x, compute_uv=False), "n": tf.strings.length(tf.strings.as_string(x))},
        tf.TensorSpec([None, 3, 3], tf.float32, name="x"),
    )
    with pytest.raises(ConversionError, match=r"no operator for AsString, StringLength, Svd \(.*\)\. Remedy: replace"):
        convert(folder, Float32(), None)


def test_convert_refuses_the_model_when_serving_assigns_variables(save):
    counter = tf.Variable(tf.zeros([3]))
    folder = save(
        lambda x: {"y": x + counter.assign_add(tf.ones([3]))},
        tf.TensorSpec([None, 3], tf.float32, name="x"),
        variables=[counter],
    )
    with pytest.raises(ModelError, match=r"keeps state between invocations.*found: AssignAddVariableOp"):
        convert(folder, Float32(), None)


@pytest.mark.parametrize("shape", [[None, None, 3], [8, 3], None], ids=str)
def test_convert_names_the_input_when_its_size_is_open(save, shape):
    folder = save(lambda x: {"y": x * 2.0}, tf.TensorSpec(shape, tf.float32, name="sentence"))
    with pytest.raises(ModelError, match=r"the input 'sentence' has no fixed size per example.*found: shape"):
        convert(folder, Float32(), None)


def test_convert_says_what_is_missing_when_folder_is_no_saved_model(tmp_path):
    with pytest.raises(ModelError, match="the SavedModel cannot be loaded"):
        convert(tmp_path, Float32(), None)


def test_convert_names_the_signatures_when_the_serving_one_is_missing(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"other": module.f})
    with pytest.raises(ModelError, match=r"lacks the signature 'serving_default'.*expected: other; found: s"):
        convert(tmp_path, Float32(), None)
