"""Pruning Keras models: which kernels, the zeros that stay, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.core.errors import ModelError, SpecError
from components.model.keras_model import load_kept
from components.prune.pruning import MagnitudePruning, by_sensitivity, check_zeros, preview, targets
from components.prune.training import train_pruned
from components.spec.scheme import Float32, StaticWi8Ai8
from components.spec.steps.prune import PruneStep
from tests.step_inputs import TrainedBaseline

layers = tf.keras.layers


def step(**said: Any) -> PruneStep:
    return PruneStep.model_validate({"kind": "prune", "epochs": 2, "sparsity": 0.75, **said})


def model() -> Any:
    tf.keras.utils.set_random_seed(3)
    inner = tf.keras.Sequential([layers.Input([8, 16]), layers.Conv1D(8, 3, name="convolution")], name="inner")
    inputs = layers.Input([8, 16])
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="both")(inner(inputs))
    x = layers.GRU(12, name="gates")(x)
    x = layers.Reshape([3, 4, 1])(x)
    x = layers.Flatten()(layers.DepthwiseConv2D(2, name="depthwise")(x))
    return tf.keras.Model(inputs, layers.Dense(4, name="head")(x))


def pruned_names(said: PruneStep) -> set[str]:
    return {target.kernel.name for target in targets(model(), said)}


def test_all_kernels_but_depthwise_ones_are_pruned_unless_named() -> None:
    recurrent = {f"both ({side}_layer/{kernel})" for side in ("forward", "backward") for kernel in KERNELS}
    everything = recurrent | {"gates", "gates (recurrent_kernel)", "inner/convolution", "head"}
    assert pruned_names(step()) == everything
    assert pruned_names(step(**{"except": ["both", "inner"]})) == everything - recurrent - {"inner/convolution"}
    assert pruned_names(step(layers=["depth*", "head"])) == {"depthwise (depthwise_kernel)", "head"}


KERNELS = ("kernel", "recurrent_kernel")


def test_layers_have_the_sparsity_of_the_last_target_that_names_them() -> None:
    said = step(targets=[{"layers": ["*"], "sparsity": 0.5}, {"layers": ["gates"], "sparsity": 0}])
    found = {target.kernel.layer: target.sparsity for target in targets(model(), said)}
    assert found == {"inner/convolution": 0.5, "both": 0.5, "head": 0.5}


def test_every_gate_of_a_recurrent_kernel_has_the_sparsity_by_itself() -> None:
    built = model()
    found = targets(built, step(schedule="constant"))
    MagnitudePruning(step(schedule="constant"), found)(0, 10)
    for name, gates in (("gates", 3), ("both", 4)):
        for variable in built.get_layer(name).trainable_weights:
            if "bias" not in variable.name:
                for gate in np.split(variable.numpy(), gates, axis=-1):
                    assert np.mean(gate == 0) == pytest.approx(0.75, abs=0.5 / gate.size)
    check_zeros(found, step(schedule="constant"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"layers": ["haed"]}, "layers: no layer of the model matches 'haed'; did you mean head"),
        ({"targets": [{"layers": ["x"], "sparsity": 0.1}]}, "targets[0].layers: no layer of the model matches 'x'"),
        ({"except": ["*"]}, "the step prunes nothing"),
        ({"sparsity": 0.0}, "the step prunes nothing"),
    ],
)
def test_step_that_fits_no_layer_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        targets(model(), step(**said))
    assert message in str(caught.value)


def test_structure_that_does_not_divide_an_input_axis_is_refused_with_all_such_layers() -> None:
    with pytest.raises(ModelError) as caught:
        targets(model(), step(structure="2:4", sparsity=None, **{"except": ["both", "gates"]}))
    assert str(caught.value).startswith("layer head: the structure 2:4 does not fit these layers")
    assert "expected: kernels whose input axis is a multiple of 4; found: head: 6 inputs" in str(caught.value)
    assert "`except: [head]`" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        targets(model(), step(structure="block_1x16", layers=["depthwise", "both"]))
    said = str(caught.value)
    assert "both (forward_layer/kernel): 8 inputs" not in said  # listed once for each layer, by its last kernel
    assert "both (backward_layer/recurrent_kernel): 8 inputs; depthwise (depthwise_kernel): no input axis" in said


def test_what_will_run_sparse_is_listed_before_pruning() -> None:
    built = tf.keras.Sequential(
        [layers.Input([32]), layers.Dense(16, name="a"), layers.Reshape([4, 4, 1]), layers.Conv2D(4, 2, name="b")]
    )
    plans = {plan.layer: plan for plan in preview(built, step(structure="block_1x16", layers=["a"]), StaticWi8Ai8())}
    assert (plans["a"].mode, plans["a"].weights) == ("pruned", "sparsity 0.75, block_1x16")
    assert plans["a"].note == "executed by a sparse kernel, if the runtime has one"
    assert plans["b"].mode == "as it is"
    plans = {plan.layer: plan for plan in preview(built, step(), Float32())}
    assert "the sparse kernel of float32 takes blocks of 1x4, not unstructured" in plans["a"].note
    assert "there is no sparse kernel for Conv2D" in plans["b"].note


def test_sensitive_layer_keeps_more_and_all_together_have_the_sparsity() -> None:
    tf.keras.utils.set_random_seed(5)
    built = tf.keras.Sequential(
        [layers.Input([16]), layers.Dense(64, name="wide"), layers.Dense(64, name="idle"), layers.Dense(4, name="out")]
    )
    # Nearly all of what the layer computes comes from a few weights: its other zeros cost nothing.
    kernel = built.get_layer("idle").kernel
    kernel.assign(tf.eye(64) * 3 + kernel * 0.01)
    before = built.get_weights()
    said = step(spread="sensitivity")
    inputs = np.random.default_rng(1).normal(size=[64, 16]).astype(np.float32)
    spread, facts = by_sensitivity(built, targets(built, said), said, inputs)
    sparsities = {target.kernel.layer: target.sparsity for target in spread}
    assert sparsities["idle"] > 0.85 > sparsities.get("wide", 0.0)
    sizes = {target.kernel.layer: target.kernel.size for target in spread}
    together = sum(sparsities[name] * size for name, size in sizes.items())
    assert together == pytest.approx(0.75 * (16 * 64 + 64 * 64 + 64 * 4))
    assert [fact.layer for fact in facts] == ["wide", "idle", "out"]
    for held, now in zip(before, built.get_weights(), strict=True):
        assert np.array_equal(held, now)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> TrainedBaseline:
    return TrainedBaseline(tmp_path_factory.mktemp("baseline"))


def test_pruned_model_has_exactly_the_zeros_and_its_accuracy(baseline: TrainedBaseline) -> None:
    said = step(
        structure="block_1x16",
        layers=["hidden"],
        epochs=4,
        learning_rate=0.01,
        schedule={"kind": "polynomial", "end_epoch": 1.5},
    )
    folder, report = baseline.do("blocks", None, train_pruned, said)
    kept = load_kept(folder)
    kernel = kept.get_layer("hidden").kernel.numpy()
    blocks = kernel.T.reshape(32, -1, 16)
    assert np.sum(np.all(blocks == 0, axis=-1)) == 0.75 * kernel.size / 16
    assert not np.any(kept.get_layer("probabilities").kernel.numpy() == 0)
    (fact,) = report.weights
    assert (fact.layer, fact.sparsity, fact.wanted_sparsity) == ("hidden", 0.75, 0.75)
    assert (report.sparsity_target.structure, report.sparsity_target.kernels) == ("block_1x16", ((64, 32),))
    images, labels = baseline.examples()
    assert np.mean(kept.predict(images, verbose=0).argmax(1) == labels) > 0.95


def test_training_that_was_killed_ends_with_the_same_zeros(baseline: TrainedBaseline, tmp_path: Path) -> None:
    said = step(epochs=3, schedule={"kind": "polynomial", "end_epoch": 2.5}, update_every=3)
    folder, _ = baseline.do("whole", None, train_pruned, said)
    killed = MagnitudePruning.__call__

    def stops(self: Any, done: int, steps_per_epoch: int) -> None:
        if done == 2 * steps_per_epoch + 2:
            raise KeyboardInterrupt
        killed(self, done, steps_per_epoch)

    MagnitudePruning.__call__ = stops  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            baseline.do("again", None, train_pruned, said, checkpoints=tmp_path)
    finally:
        MagnitudePruning.__call__ = killed  # type: ignore[method-assign]
    again, report = baseline.do("again", None, train_pruned, said, checkpoints=tmp_path)
    assert len(report.epochs) == 3
    for one, other in zip(load_kept(folder).get_weights(), load_kept(again).get_weights(), strict=True):
        assert np.array_equal(one == 0, other == 0)
        assert np.allclose(one, other, atol=1e-4)


def test_early_stopping_takes_no_epoch_before_the_whole_sparsity(baseline: TrainedBaseline) -> None:
    # A rate so high that the first epoch is the best.
    said = step(
        epochs=5,
        learning_rate=0.3,
        schedule={"kind": "polynomial", "end_epoch": 2.5},
        early_stopping={"patience": 1},
    )
    folder, report = baseline.do("early", None, train_pruned, said)
    assert report.best_epoch >= 4
    assert np.mean(load_kept(folder).get_layer("hidden").kernel.numpy() == 0) == 0.75
