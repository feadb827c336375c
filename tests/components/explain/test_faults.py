"""Planted faults: the first bad layer and its cause."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from components.convert.aeq.recover import recover
from components.convert.representative import Sample
from components.explain.explain import explain
from components.explain.graph import Graph
from components.facts.explanation import Explanation, decibels
from components.spec.recipe import Recipe
from components.spec.scheme import StaticWi8Ai8
from components.upstream.tflite.objects import pack, unpack
from pipelines.report.why import as_yaml
from tests.components.explain.planted import IMAGES, PLANTED, Planted, examples, float_file, quantized, sound

FILES: dict[str, tuple[bytes, Explanation]] = {}


def explained(reference: bytes, candidate: bytes, scheme: StaticWi8Ai8 = StaticWi8Ai8()) -> Explanation:  # noqa: B008
    recipe = {"name": "int8", "steps": [], "scheme": scheme.model_dump()}
    return explain(reference, candidate, examples(), recipe=recipe, scheme=scheme, source="the test")


def of(fault: Planted) -> tuple[bytes, Explanation]:
    """The float file and the explanation of a planted fault."""
    if fault.name not in FILES:
        model = fault.build()
        reference = float_file(model)
        scheme = StaticWi8Ai8(granularity="per_tensor" if fault.options.get("per_tensor") else "per_channel")
        FILES[fault.name] = reference, explained(reference, quantized(model, **fault.options), scheme)
    return FILES[fault.name]


def is_right(found: Explanation, fault: Planted) -> bool:
    """Whether the first bad layer is the planted one."""
    if not found.faults:
        return False
    first = found.faults[0]
    return first.layer.rpartition("/")[2].startswith(fault.layer)


def test_planted_faults_are_found_first_with_their_causes() -> None:
    found = {fault.name: (fault, of(fault)[1]) for fault in PLANTED}
    assert len(found) == 13
    layers = {name: is_right(one, fault) for name, (fault, one) in found.items()}
    causes = {name: bool(one.faults) and one.faults[0].cause == fault.cause for name, (fault, one) in found.items()}
    assert sum(layers.values()) >= 12, layers
    assert sum(causes.values()) >= 11, causes
    # Every operator of the float file is found in the candidate's.
    assert {one.unmatched for _, one in found.values()} == {0}


def test_sound_models_have_no_faults() -> None:
    model = sound()
    for bits in (8, 16):
        found = explained(float_file(model), quantized(model, bits=bits))
        assert not found.faults
        assert found.examples == len(IMAGES)
        assert decibels(found.outputs["scores"]) > 30
        # 16-bit activations have 256 times finer steps: 48 dB. The weights have 8 bits in both.
        assert min(decibels(one.activations) for one in found.layers) > (40 if bits == 8 else 80)


@pytest.mark.parametrize(
    ("name", "keys", "title"),
    [(b"torso", [b"first"], "torso"), (b"", [b"first", b"second"], "first"), (None, [], "main")],
)
def test_graph_has_the_name_that_model_explorer_shows(name: bytes | None, keys: list[bytes], title: str) -> None:
    model = unpack(float_file(sound()))
    signature = model.signatureDefs[0]
    model.subgraphs[0].name = name
    model.signatureDefs = [copy.copy(signature) for _ in keys]
    for one, key in zip(model.signatureDefs, keys, strict=True):
        one.signatureKey = key
    assert Graph(pack(model)).title == title


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name.replace(" ", "_"))
def test_cures_are_recipes_of_the_pipeline_file(fault: Planted) -> None:
    for one in of(fault)[1].faults:
        assert one.remedy.words
        if one.remedy.recipe is not None:
            Recipe.model_validate(one.remedy.recipe)


def cured(fault: Planted) -> Explanation:
    """The explanation of the candidate that the cure of the first fault makes."""
    reference, found = of(fault)
    remedy, model = found.faults[0].remedy, fault.build()
    if remedy.recipe is None:
        # It names the only way out, which is not in the recipe: a sample like the examples.
        assert "calibrate on more samples, from a split with the same kind of data" in remedy.words
        return explained(reference, quantized(model, sample=IMAGES))
    scheme = Recipe.model_validate(remedy.recipe).scheme
    if scheme.kind == "static_wi8_ai16":
        return explained(reference, quantized(model, bits=16))
    assert isinstance(scheme, StaticWi8Ai8)
    if scheme.kept_float is None:
        return explained(reference, quantized(model, per_tensor=scheme.granularity == "per_tensor"))
    made = recover(reference, scheme, Sample({"image": IMAGES}))
    return explained(reference, made.content, scheme)


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name.replace(" ", "_"))
def test_cure_removes_the_first_fault(fault: Planted) -> None:
    before, after = of(fault)[1], cured(fault)
    first = before.faults[0]
    assert first.layer not in {one.layer for one in after.faults}, after.faults
    (output,) = before.outputs
    was, now = (decibels(one.outputs[output]) for one in (before, after))
    # A layer that is bad doesn't have to matter to the output.
    assert now > was + 3 or now >= was > 30, (was, now)


def test_recipe_cures_values_that_a_percentile_clips() -> None:
    reference, sample = float_file(sound()), Sample({"image": IMAGES})
    clips = StaticWi8Ai8.model_validate(
        {"kind": "static_wi8_ai8", "calibration_method": {"kind": "percentile", "percentile": 60}}
    )
    fault = explained(reference, recover(reference, clips, sample).content, clips).faults[0]
    assert fault.cause == "saturated"
    assert fault.remedy.recipe is not None
    scheme = Recipe.model_validate(fault.remedy.recipe).scheme
    assert isinstance(scheme, StaticWi8Ai8)
    assert scheme.range_estimator.kind == "min_max"
    assert explained(reference, recover(reference, scheme, sample).content, scheme).faults == ()


def test_layer_after_a_bad_one_is_judged_on_the_values_that_it_got() -> None:
    """Run on the float model's values instead, each layer after a bad one would be bad too."""
    found = of(next(each for each in PLANTED if each.name == "rows of a dense layer"))[1]
    bad = next(place for place, one in enumerate(found.layers) if one.tensor == found.faults[0].tensor)
    after = [one for one in found.layers[bad + 1 :] if decibels(one.total) < 25]
    assert after
    assert min(decibels(one.own) - decibels(one.total) for one in after) > 10


def test_rounding_after_a_float_layer_belongs_to_that_layer() -> None:
    reference = float_file(sound())
    scheme = StaticWi8Ai8.model_validate({"kind": "static_wi8_ai8", "keep_float": ["*/second"]})
    found = explained(reference, recover(reference, scheme, Sample({"image": IMAGES})).content, scheme)
    assert (found.unmatched, found.faults) == (0, ())
    kept = next(one for one in found.layers if one.layer.endswith("second"))
    assert decibels(kept.weights) > 100
    assert 40 < decibels(kept.activations) < 70


def test_example_in_the_documents_is_what_is_found() -> None:
    text = Path("docs/explain.md").read_text()
    fault = of(next(each for each in PLANTED if each.name == "rows of a dense layer"))[1].faults[0]
    assert fault.evidence in text
    assert fault.remedy.words.replace(fault.layer, "model/hidden") in text
    assert fault.remedy.recipe is not None and as_yaml(fault.remedy.recipe) in text


def test_errors_are_those_of_a_plain_loop() -> None:
    # Independent of the product: one dense layer in NumPy.
    import tensorflow as tf

    tf.keras.utils.set_random_seed(4)
    model = tf.keras.Sequential([tf.keras.layers.Input([6], name="values"), tf.keras.layers.Dense(3, name="scores")])
    values = np.random.default_rng(5).normal(size=(32, 6)).astype(np.float32)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in values)
    candidate = converter.convert()
    recipe = {"name": "int8", "scheme": {"kind": "static_wi8_ai8"}}
    found = explain(
        float_file(model), candidate, ({"values": row[None]} for row in values),
        recipe=recipe, scheme=StaticWi8Ai8(), source="the test",
    )  # fmt: skip
    kernel, bias = (each.astype(np.float64) for each in model.layers[-1].get_weights())
    interpreter = tf.lite.Interpreter(model_content=candidate, experimental_preserve_all_tensors=True)
    details = {one["name"]: one for one in interpreter.get_tensor_details()}
    weights = next(one for one in details.values() if list(one["shape"]) == [3, 6])
    stored = interpreter.get_tensor(weights["index"]).astype(np.float64).T
    # One scale, or one for each row in TensorFlow 2.21.
    stored = stored * weights["quantization_parameters"]["scales"]
    interpreter.allocate_tensors()
    signal = total = by_weights = 0.0
    for row in values:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        given = next(
            one for one in interpreter.get_tensor_details() if list(one["shape"]) == [1, 6] and one["dtype"] == np.int8
        )
        scale, zero = given["quantization"]
        taken = (interpreter.get_tensor(given["index"]).astype(np.float64) - zero) * scale
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(np.float64)
        wanted = row.astype(np.float64)[None] @ kernel + bias
        signal += float((wanted**2).sum())
        total += float(((answer - wanted) ** 2).sum())
        by_weights += float(((taken @ (stored - kernel)) ** 2).sum())
    layer = next(one for one in found.layers if one.operator == "FULLY_CONNECTED")
    assert layer.total == pytest.approx(total / signal, rel=1e-3)
    assert layer.weights == pytest.approx(by_weights / signal, rel=0.05)
    assert layer.own == pytest.approx(layer.weights + layer.activations, rel=0.5)
