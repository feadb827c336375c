"""The judgment alone, over given numbers: nothing is converted or timed here."""

import math

import pytest

from components.convert.checks.sparsity_verification import Execution, encoded, not_encoded, targeted_uses
from components.facts.conversion import TensorFact
from components.model.tflite_weights import WeightUse
from components.spec.steps.sparsity import SparsityTarget

TARGET = SparsityTarget(structure="block_1x4", sparsity=0.8)
FAST = {"difference": 2e-7, "tolerance": 1e-4, "sparse_s": 30e-6, "dense_s": 100e-6, "twin_s": 102e-6}


def use(sparsity=0.8, encoding="1x4", densify=False, shape=(64, 256), operator="FULLY_CONNECTED", name="kernel"):
    fact = TensorFact(
        name=name,
        shape=shape,
        dtype="FLOAT32",
        bytes=9,
        scales=0,
        sparsity=sparsity,
        sparse_encoded=encoding != "dense",
    )
    return WeightUse(fact=fact, operator=operator, encoding=encoding, densify=densify)


def judged(*uses, target=TARGET, **changes):
    return encoded(target, uses or (use(),), 400, 1000, Execution(**FAST | changes))


def test_sparsity_is_proven_when_encoded_right_and_faster():
    proof = judged()
    assert (proof.verdict, proof.reasons, proof.delivered, proof.transient) == ("proven", (), "sparse", False)
    assert proof.time_ratio == pytest.approx(0.3)
    assert (proof.difference, proof.tolerance, proof.sparse_bytes, proof.dense_bytes) == (2e-7, 1e-4, 400, 1000)
    (tensor,) = proof.tensors
    assert (tensor.verdict, tensor.sparsity, tensor.wanted, tensor.encoding) == ("proven", 0.8, 0.8, "1x4")


@pytest.mark.parametrize(("difference", "delivered"), [(1e-4, "sparse"), (1.001e-4, "dense"), (math.nan, "dense")])
def test_dense_file_is_delivered_when_outputs_differ_by_more_than_the_tolerance(difference, delivered):
    proof = judged(difference=difference)
    assert proof.delivered == delivered
    assert proof.verdict == ("proven" if delivered == "sparse" else "stored_only")
    assert (proof.time_ratio is None) == (delivered == "dense")
    if delivered == "dense":
        assert "differ from those without delegates" in proof.reasons[0]
        assert "at most 0.0001" in proof.reasons[0]


def test_dense_file_is_delivered_when_the_encoded_one_does_not_run():
    proof = encoded(TARGET, (use(),), 400, 1000, Execution(difference=None, tolerance=1e-4, error="node 3 failed"))
    assert (proof.verdict, proof.delivered, proof.transient) == ("stored_only", "dense", False)
    assert "does not run (node 3 failed)" in proof.reasons[0]


@pytest.mark.parametrize(
    ("times", "verdict", "reason", "transient"),
    [
        # As much faster as two runs of one file may differ is not faster.
        ({"sparse_s": 95e-6}, "proven", "", False),
        ({"sparse_s": 95.3e-6}, "stored_only", "takes 0.95 of its dense twin's time", False),
        ({"sparse_s": 250e-6}, "stored_only", "takes 2.50 of its dense twin's time", False),
        ({"twin_s": 105.1e-6}, "stored_only", "the dense file took 100.0 and 105.1 us", True),
        ({"sparse_s": 19e-6}, "stored_only", "the sparse file takes 19.0 us, and under 20 us nothing is judged", False),
        ({"dense_s": 19e-6, "twin_s": 19e-6}, "stored_only", "the dense file takes 19.0 us", False),
        ({"sparse_s": None}, "stored_only", "was not timed", False),
    ],
)
def test_speed_is_judged_like_latency(times, verdict, reason, transient):
    proof = judged(**times)
    assert (proof.verdict, proof.transient, proof.delivered) == (verdict, transient, "sparse")
    assert reason in " ".join(proof.reasons)
    assert bool(proof.reasons) == bool(reason)


@pytest.mark.parametrize(("sparsity", "verdict"), [(0.78, "proven"), (0.779, "lost"), (0.0, "lost"), (None, "lost")])
def test_sparsity_is_lost_when_zeros_are_gone(sparsity, verdict):
    proof = judged(use(), use(sparsity))
    assert proof.verdict == verdict
    assert proof.tensors[0].verdict == "proven"
    if verdict == "lost":
        assert proof.reasons == (
            f"zeros were lost: {sparsity or 0:.3f} of the weights instead of 0.800 (at least 0.780)",
        )


def test_small_kernel_may_lack_one_block_when_its_size_allows_no_exact_fraction():
    # 4 blocks of 4: three of them are 0.75, none between that and 1.
    assert judged(use(0.75, shape=(1, 16))).verdict == "proven"
    assert judged(use(0.5, shape=(1, 16))).verdict == "lost"


def test_only_unpacked_weights_are_stored_only_when_others_execute():
    proof = judged(use(), use(0.8, "sparse", densify=True, operator="CONV_2D"), use(0.8, "dense"))
    assert proof.verdict == "proven"
    assert [tensor.verdict for tensor in proof.tensors] == ["proven", "stored_only", "stored_only"]
    assert proof.reasons == (
        "DENSIFY unpacks the weights of CONV_2D when the model is loaded",
        "the converter did not encode the weights of FULLY_CONNECTED",
    )
    assert judged(use(0.8, "sparse", densify=True)).verdict == "stored_only"


def test_dense_file_is_stored_only_or_lost_and_never_proven_when_not_encoded():
    proof = not_encoded(TARGET, (use(0.8, "dense"),), 1000, "no kernel")
    assert (proof.verdict, proof.reasons, proof.delivered) == ("stored_only", ("no kernel",), "dense")
    assert (proof.sparse_bytes, proof.time_ratio, proof.difference) == (None, None, None)
    assert not_encoded(TARGET, (use(0.4, "dense"),), 1000, "no kernel").verdict == "lost"


def test_only_pruned_kernels_are_held_to_the_claim_when_it_names_shapes():
    target = SparsityTarget(
        structure="unstructured", sparsity=0.8, kernels=((256, 64), (3, 3, 8, 16), (32, 128), (32, 32))
    )
    dense_layer = use(shape=(64, 256), name="dense")
    convolution = use(shape=(16, 3, 3, 8), name="convolution")
    gate = use(shape=(32, 32), name="a gate of an LSTM of 32 units")
    head = use(0.0, shape=(10, 64), name="head")
    kept = targeted_uses(target, (dense_layer, head, convolution, gate))
    assert kept == [dense_layer, convolution, gate]
    assert not_encoded(target, (dense_layer, head), 1000, "why").verdict == "stored_only"
    assert targeted_uses(TARGET, (dense_layer, head)) == [dense_layer, head]
    nothing = not_encoded(target, (head,), 1000, "why")
    assert (nothing.verdict, nothing.reasons[-1]) == ("lost", "no weight in the file has the shape of a pruned kernel")


def test_each_kernel_is_held_to_its_own_sparsity_and_those_of_one_shape_to_the_least():
    target = SparsityTarget(
        structure="unstructured",
        sparsity=0.3,
        kernels=((256, 64), (64, 64), (64, 64), (5, 8, 16)),
        sparsities=(0.9, 0.3, 0.6, 0.5),
    )
    wide, one, other = use(0.5, "dense"), use(0.3, "dense", shape=(64, 64)), use(0.6, "dense", shape=(64, 64))
    line = use(0.2, "dense", shape=(16, 1, 5, 8), operator="CONV_2D")  # a one-dimensional convolution in a file
    proof = not_encoded(target, (wide, one, other, line), 1000, "why")
    assert [(tensor.verdict, tensor.wanted) for tensor in proof.tensors] == [
        ("lost", 0.9),
        ("stored_only", 0.3),
        ("stored_only", 0.3),
        ("lost", 0.5),
    ]
