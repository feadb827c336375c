from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.convert.checks import sparse as sparse_module
from components.convert.checks.sparse import largest_difference, measure, outputs, random_inputs, sparse_or_dense
from components.convert.component import is_transient
from components.convert.job import ConversionRequest, run
from components.convert.tensorflow.converter import convert
from components.core.errors import ConversionError, SpecError
from components.facts.artifact_paths import SERVING_FOLDER
from components.facts.conversion import ConversionFailure, Converted
from components.model.tflite_file import inspect_model
from components.model.tflite_weights import weight_uses
from components.spec.scheme import DynamicWi8Afp32, Float16, Float32, StaticWi8Ai8
from components.spec.steps.sparsity import SparsityTarget

INPUTS, UNITS, CLASSES = 256, 128, 10


def block_sparse(inputs, outputs_, block, kept, random):
    """A kernel [inputs, outputs] where each output has `kept` blocks of `block` weights along the inputs."""
    blocks = -(-inputs // block)
    mask = np.zeros((outputs_, blocks), bool)
    for row in mask:
        row[random.permutation(blocks)[:kept]] = True
    kernel = random.normal(size=(outputs_, inputs), scale=0.2) * np.repeat(mask, block, axis=1)[:, :inputs]
    return kernel.T.astype(np.float32)


class Network:
    """Two dense layers, exported, and the same in numpy."""

    def __init__(self, save, first, second, ranges=False):
        self.kernels = (first, second)
        variables = [tf.Variable(kernel) for kernel in self.kernels]

        def watch(values, least, most, **options):
            return tf.quantization.fake_quant_with_min_max_vars(values, least, most, **options) if ranges else values

        def weights(variable, kernel):
            limit = float(np.abs(kernel).max())
            return watch(variable, -limit, limit, narrow_range=True)

        def serve(features):
            hidden = tf.nn.relu(tf.matmul(watch(features, -4.0, 4.0), weights(variables[0], first)))
            return {"logits": watch(tf.matmul(watch(hidden, 0.0, 8.0), weights(variables[1], second)), -9.0, 9.0)}

        spec = tf.TensorSpec([None, len(first)], tf.float32, name="features")
        self.saved_model = save(serve, spec, variables=variables)
        self.features = np.random.default_rng(7).normal(size=(20, 1, len(first))).astype(np.float32)

    def oracle(self, features):
        return np.maximum(features @ self.kernels[0], 0.0) @ self.kernels[1]

    def samples(self):
        for features in self.features:
            yield {"": features}

    def convert(self, scheme, sparse=False):
        return convert(self.saved_model, scheme, self.samples, sparse=sparse)

    def choose(self, scheme, structure, sparsity, kernels=()):
        target = SparsityTarget(structure=structure, sparsity=sparsity, kernels=kernels)
        dense = self.convert(scheme)
        content, proof = sparse_or_dense(dense, lambda: self.convert(scheme, sparse=True), scheme, target)
        return dense, content, proof


def network(save, block, kept, inputs=INPUTS, ranges=False):
    random = np.random.default_rng(11)
    return Network(
        save,
        block_sparse(inputs, UNITS, block, kept, random),
        random.normal(size=(UNITS, CLASSES)).astype(np.float32),
        ranges,
    )


@pytest.fixture(scope="module")
def in_sixteens(save):
    return network(save, 16, 3)


@pytest.fixture(scope="module")
def in_fours(save):
    return network(save, 4, 12)


@pytest.fixture
def timed(monkeypatch):
    """Given times in the place of measured ones."""

    def timed(**seconds):
        monkeypatch.setattr(
            sparse_module, "interleaved_minima", lambda runs, seed: {name: seconds[name] for name in runs}
        )

    return timed


FAST = {"sparse": 30e-6, "dense": 100e-6, "twin": 101e-6}
PRUNED = ((INPUTS, UNITS),)
# 3 of 16 blocks.
SPARSITY = 1 - 3 / 16


@pytest.mark.parametrize(
    ("scheme", "encoding", "itemsize"), [(Float32(), "1x4", 4), (StaticWi8Ai8(), "1x16", 1)], ids=["float32", "int8"]
)
def test_file_is_sparse_proven_and_smaller_when_blocks_have_a_kernel(in_sixteens, timed, scheme, encoding, itemsize):
    timed(**FAST)
    dense, content, proof = in_sixteens.choose(scheme, "block_1x16", SPARSITY, PRUNED)
    assert (proof.verdict, proof.reasons, proof.delivered) == ("proven", (), "sparse")
    (tensor,) = proof.tensors
    assert (tensor.shape, tensor.encoding, tensor.densify) == ((UNITS, INPUTS), encoding, False)
    assert tensor.sparsity == pytest.approx(SPARSITY, abs=0.01)
    assert (proof.sparse_bytes, proof.dense_bytes) == (len(content), len(dense))
    assert len(content) < 0.5 * len(dense)
    facts = {weight.shape: weight for weight in inspect_model(content).weights}
    assert facts[(UNITS, INPUTS)].sparse_encoded
    assert facts[(UNITS, INPUTS)].bytes == UNITS * INPUTS * itemsize * 3 // 16
    assert not facts[(CLASSES, UNITS)].sparse_encoded
    assert proof.difference <= proof.tolerance


def test_encoded_file_computes_the_model_when_run(in_sixteens):
    content = in_sixteens.convert(Float32(), sparse=True)
    for features in in_sixteens.features[:5]:
        (found,) = outputs(content, [{"features": features}]).values()
        assert np.allclose(found[0], in_sixteens.oracle(features), atol=1e-4)


def test_encoded_file_keeps_its_blocks_when_ranges_were_trained(save):
    trained = network(save, 16, 3, ranges=True)
    uses = {use.fact.shape: use for use in weight_uses(trained.convert(StaticWi8Ai8(), sparse=True))}
    assert (uses[(UNITS, INPUTS)].encoding, uses[(UNITS, INPUTS)].fact.dtype) == ("1x16", "INT8")
    assert uses[(UNITS, INPUTS)].fact.sparsity == pytest.approx(SPARSITY, abs=0.01)


def test_densify_is_found_when_zeros_lie_anywhere(save, timed):
    timed(**FAST)
    random = np.random.default_rng(3)
    scattered = (random.normal(size=(INPUTS, UNITS)) * (random.random((INPUTS, UNITS)) > 0.8)).astype(np.float32)
    anywhere = Network(save, scattered, random.normal(size=(UNITS, CLASSES)).astype(np.float32))
    _, content, proof = anywhere.choose(Float32(), "block_1x4", 0.8, PRUNED)
    assert "DENSIFY" in {use.name for use in inspect_model(content).operators}
    assert (proof.verdict, proof.tensors[0].encoding, proof.tensors[0].densify) == ("stored_only", "sparse", True)
    assert proof.reasons == ("DENSIFY unpacks the weights of FULLY_CONNECTED when the model is loaded",)


def test_int8_of_blocks_of_four_is_not_encoded_and_stored_only(in_fours):
    dense, content, proof = in_fours.choose(StaticWi8Ai8(), "block_1x4", SPARSITY, PRUNED)
    assert content == dense
    assert (proof.verdict, proof.delivered, proof.sparse_bytes) == ("stored_only", "dense", None)
    assert proof.reasons == (
        "not sparse-encoded: there is no sparse kernel for static_wi8_ai8 with block_1x4 sparsity",
    )
    # Why it is not: the converter would store it value by value, and unpack it.
    (use,) = [u for u in weight_uses(in_fours.convert(StaticWi8Ai8(), sparse=True)) if u.fact.shape[1] == INPUTS]
    assert (use.encoding, use.densify) == ("sparse", True)


@pytest.mark.parametrize(
    ("scheme", "block", "inputs"), [(Float32(), 4, 250), (StaticWi8Ai8(), 16, 248)], ids=["float32", "int8"]
)
def test_dense_file_is_delivered_when_the_sparse_kernel_computes_wrong_values(save, scheme, block, inputs):
    # Nothing warns of it: the runtime takes the file, with and without delegates alike.
    odd = network(save, block, 12 if block == 4 else 3, inputs)
    dense, content, proof = odd.choose(scheme, f"block_1x{block}", SPARSITY, ((inputs, UNITS),))
    assert content == dense
    assert (proof.verdict, proof.delivered) == ("stored_only", "dense")
    assert proof.difference > proof.tolerance
    assert "differ from those without delegates" in proof.reasons[0]
    encoded = odd.convert(scheme, sparse=True)
    probes = random_inputs(encoded)
    both = outputs(encoded, probes), outputs(encoded, probes, delegates=False)
    assert largest_difference(*both) < proof.tolerance
    (found,) = outputs(odd.convert(Float32()), [{"features": f} for f in odd.features]).values()
    assert np.allclose(found, np.stack([odd.oracle(f) for f in odd.features]), atol=1e-4)


def test_claim_is_lost_when_the_weights_are_dense(save, monkeypatch):
    random = np.random.default_rng(3)
    kernels = [random.normal(size=shape).astype(np.float32) for shape in ((INPUTS, UNITS), (UNITS, CLASSES))]
    full = Network(save, *kernels)
    dense = full.convert(Float32())
    target = SparsityTarget(structure="block_1x4", sparsity=0.8)
    content, proof = sparse_or_dense(dense, lambda: pytest.fail("encoded"), Float32(), target)
    assert content == dense
    assert (proof.verdict, proof.delivered) == ("lost", "dense")
    assert len(proof.tensors) == 2
    assert proof.reasons[0] == "zeros were lost: 0.000 of the weights instead of 0.800 (at least 0.780)"


def test_pruned_model_is_lost_when_plain_quantization_aware_training_follows(tmp_path):
    import tf_keras

    from components.fake_quantize.qat import quantized
    from components.model.keras_model import export
    from components.spec.steps.qat import QatStep

    random = np.random.default_rng(5)
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Dense(UNITS, activation="relu", use_bias=False, input_shape=(64,), name="hidden"),
            tf_keras.layers.Dense(CLASSES, name="head"),
        ]
    )
    model.layers[0].set_weights([block_sparse(64, UNITS, 4, 3, random)])
    trained = quantized(model, QatStep(kind="qat", epochs=1), StaticWi8Ai8(), steps_per_epoch=20)
    trained.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    features, labels = random.normal(size=(640, 64)).astype(np.float32), random.integers(CLASSES, size=640)
    trained.fit(features, labels, epochs=1, verbose=0)
    export(trained, tmp_path)
    dense = convert(tmp_path / SERVING_FOLDER, StaticWi8Ai8(), None)
    target = SparsityTarget(structure="block_1x16", sparsity=SPARSITY, kernels=((64, UNITS),))
    _, proof = sparse_or_dense(dense, lambda: pytest.fail("encoded"), StaticWi8Ai8(), target)
    assert proof.verdict == "lost"
    (tensor,) = proof.tensors
    assert tensor.sparsity < 0.6
    assert "zeros were lost" in proof.reasons[0]


def test_schemes_without_a_kernel_are_stored_only_or_refused(in_fours):
    _, _, proof = in_fours.choose(Float16(), "block_1x4", SPARSITY, PRUNED)
    assert (proof.verdict, proof.delivered) == ("stored_only", "dense")
    with pytest.raises(SpecError, match="dynamic range quantization of block-sparse weights"):
        in_fours.choose(DynamicWi8Afp32(), "block_1x4", SPARSITY, PRUNED)


def test_dense_file_is_delivered_when_encoding_is_refused(in_fours):
    def refuse():
        raise ConversionError("no room", where="float32", remedy="none")

    dense = in_fours.convert(Float32())
    target = SparsityTarget(structure="block_1x4", sparsity=SPARSITY, kernels=PRUNED)
    content, proof = sparse_or_dense(dense, refuse, Float32(), target)
    assert content == dense
    assert (proof.verdict, proof.reasons) == ("stored_only", ("not sparse-encoded: no room",))


def test_wrong_outputs_are_found_when_the_encoded_file_has_other_weights(in_sixteens, timed):
    timed(**FAST)
    content = bytearray(in_sixteens.convert(Float32(), sparse=True))
    head = in_sixteens.kernels[1].T.tobytes()
    place = content.find(head)
    assert place > 0
    content[place : place + len(head)] = (-in_sixteens.kernels[1]).T.tobytes()
    execution = measure(bytes(content), in_sixteens.convert(Float32()), 1e-4)
    assert execution.difference == pytest.approx(2.0, abs=0.01)
    assert (execution.sparse_s, execution.dense_s, execution.twin_s) == (30e-6, 100e-6, 101e-6)


def test_encoded_file_that_does_not_run_is_reported(in_sixteens):
    execution = measure(b"no model", in_sixteens.convert(Float32()), 1e-4)
    assert execution.difference is None
    assert execution.error


def test_largest_difference_is_relative_and_keeps_nan():
    assert largest_difference({"a": np.array([1.0, 4.0])}, {"a": np.array([1.0, 5.0])}) == pytest.approx(0.2)
    one = {"a": np.ones(1), "b": np.ones(1)}
    assert np.isnan(largest_difference(one | {"a": np.array([np.nan])}, one))
    assert largest_difference({"a": np.zeros(3)}, {"a": np.zeros(3)}) == 0.0


def test_two_files_with_their_outputs_in_another_order_are_compared_by_name():
    ones = {"scores": np.array([0.5]), "boxes": np.array([90.0])}
    assert largest_difference(ones, {"boxes": np.array([90.0]), "scores": np.array([0.25])}) == pytest.approx(1.0)


def test_job_delivers_the_encoded_file_with_its_proof_when_sparsity_is_claimed(in_sixteens, tmp_path: Path, timed):
    timed(**FAST)
    target = SparsityTarget(structure="block_1x16", sparsity=SPARSITY, kernels=PRUNED)
    request = ConversionRequest(
        name="sparse", scheme=Float32(), saved_model=str(in_sixteens.saved_model), sparse=target
    )
    run(request, tmp_path)
    outcome = Converted.model_validate_json((tmp_path / "outcome.json").read_bytes())
    assert outcome.sparsity.verdict == "proven"
    assert outcome.inspection.file_bytes == (tmp_path / "tflite").stat().st_size == outcome.sparsity.sparse_bytes
    assert any(weight.sparse_encoded for weight in outcome.inspection.weights)


def test_next_run_tries_again_when_the_machine_was_too_noisy_to_judge(in_sixteens, timed):
    def converted(**seconds):
        timed(**seconds)
        _, content, proof = in_sixteens.choose(Float32(), "block_1x16", SPARSITY, PRUNED)
        return Converted(inspection=inspect_model(content), seconds=1, peak_memory_bytes=1, sparsity=proof)

    assert not is_transient(converted(**FAST))
    assert is_transient(converted(**FAST | {"twin": 110e-6}))
    failure = {"scheme": "float32", "cause": "timed_out", "message": "m", "remedy": "r"}
    assert is_transient(ConversionFailure(**failure, transient=True))
    assert not is_transient(ConversionFailure(**failure))
