"""A champion and candidates on the same examples. Figures are compared with those of plain interpreter loops."""

import shutil

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from components.challenge.challenge import challenged
from components.core.files import sha256_of_bytes
from components.device_check.measure.measurement import Measurement, MeasurementRequest, measure
from components.facts.champion import Champion
from components.facts.manifest import write_manifest
from components.facts.verified import verified
from components.spec.devices.device_tools import TflmEvaluator
from components.spec.evaluate import EvaluationSpec
from tests.predicted import write_predictions

SPEC = EvaluationSpec.model_validate({"slices": [["label"], ["site"]], "batch_size": 50})


def tflite(function, shape, name):
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec(shape, tf.float32, name=name))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()


def always_the_first(image):
    """A model that is worse than any other: it answers class 0 whatever it sees."""
    seen = tf.reduce_mean(image, axis=[1, 2, 3], keepdims=False)[:, None] * 0.0
    return {"probabilities": tf.concat([seen + 0.7, seen + 0.1, seen + 0.1, seen + 0.1], axis=1)}


@pytest.fixture(scope="module")
def models(world, task, tmp_path_factory):
    """Name -> the artifact of a model, and its predictions; and a function that makes another pair."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(world.saved_model, root / "baseline" / "Format-Serving")
    write_manifest(root / "baseline", "Format-Serving", role="baseline", parents={}, code_version="1")
    baseline = verified(root / "baseline")
    of_baseline = write_predictions(root / "p-baseline", baseline, files=world.files, spec=SPEC, task=task)

    def made(name, content, role="candidate"):
        folder = root / f"{role}-{name}"
        (folder / "Format-Serving").mkdir(parents=True)
        (folder / "Format-Serving" / "tflite").write_bytes(content)
        recipe = {"name": name, "scheme": "float32"}
        write_manifest(folder, "Format-Serving/tflite", role=role, parents={}, code_version="1", recipe=recipe)
        model = verified(folder)
        predictions = root / f"p-{role}-{name}"
        return model, write_predictions(
            predictions, model, files=world.files, spec=SPEC, task=task, baseline=of_baseline
        )

    known = {name: made(name, world.tflite[name].read_bytes()) for name in ("float32", "int8")}
    known["first"] = made("first", tflite(always_the_first, [1, 8, 8, 1], "image"))
    return known, made, baseline, of_baseline


def against(content, model, models, world, task, measured=None, **known):
    champion = Champion(
        device="phone", state="found", sha256=sha256_of_bytes(content), version="v", path="/registry/v", **known
    )
    return challenged(
        champion,
        model,
        {name: its for name, (_, its) in models[0].items()},
        measured,
        files=world.files,
        baseline=models[2],
        spec=SPEC,
        label="label",
        task=task,
        make_pipeline=beam.Pipeline,
    )


def right(world, name):
    answers = np.zeros(len(world.labels), int) if name == "first" else world.candidate(name).argmax(axis=1)
    return answers == world.labels


@pytest.mark.parametrize("champion", ["int8", "first"])
def test_changes_and_flips_of_each_slice_are_those_from_the_champion(models, world, task, champion):
    content = models[0][champion][0].read("Format-Serving/tflite")
    _, of_champion = models[1](f"champion-{champion}", content, "champion")
    found = against(content, of_champion, models, world, task)
    assert {one.name: one.same for one in found.challengers} == {name: name == champion for name in models[0]}
    assert found.of(champion).slices == () and found.incomparable == ""
    # A mean has samples instead.
    assert found.spans == {}
    assert all(one.samples.keys() == {"accuracy"} for one in found.slices)
    base = right(world, champion)
    for one in found.challengers:
        if one.name == champion:
            continue
        own = right(world, one.name)
        assert one.sha256 == sha256_of_bytes(models[0][one.name][0].read("Format-Serving/tflite"))
        for result, reference in zip(one.slices, found.slices, strict=True):
            feature, _, value = result.slice.partition("=")
            values = world.labels.astype(str) if feature == "label" else world.sites.astype(str)
            there = values == value if value else np.full(len(values), True)
            flips = result.flips["accuracy"]
            assert (flips.lost, flips.gained) == ((base & ~own & there).sum(), (own & ~base & there).sum())
            assert result.change["accuracy"].value == pytest.approx(own[there].mean() - base[there].mean(), abs=1e-6)
            assert reference.metrics["accuracy"].value == pytest.approx(base[there].mean(), abs=1e-6)
            assert result.examples == there.sum()
    # Both directions occur, so that a swapped sign fails.
    others = [one.slices[0].change["accuracy"].value for one in found.challengers if one.slices]
    assert min(others) < -0.2 if champion == "int8" else min(others) > 0.2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda world: world.tflite["binary"].read_bytes(), "outputs have the shapes"),
        (lambda _: tflite(lambda sound: {"probabilities": sound * 2.0}, [1, 8], "sound"), "sound"),
        (lambda _: b"no model", ""),
    ],
    ids=["other outputs", "other inputs", "not a model"],
)
def test_champion_of_another_model_is_incomparable_and_nothing_fails(models, world, task, content, words, request):
    content = content(world)
    _, of_champion = models[1](request.node.callspec.id.replace(" ", "-"), content, "champion")
    assert of_champion.report.examples == 0
    found = against(content, of_champion, models, world, task)
    assert words in found.incomparable and found.incomparable
    assert all(one.slices == () and not one.same for one in found.challengers)


def test_champion_with_other_classes_is_incomparable_although_it_runs(models, world, task):
    content = models[0]["int8"][0].read("Format-Serving/tflite")
    found = against(content, models[0]["int8"][1], models, world, task, incomparable="its classes are b, a")
    assert (found.incomparable, found.slices) == ("its classes are b, a", ())


def test_champion_and_candidates_are_compared_under_tensorflow_lite_micro(models, world, task, tmp_path):
    def on_tflm(name, count):
        content = models[0][name][0].read("Format-Serving/tflite")
        model, _ = models[1](f"there-{name}", content, "champion")
        request = MeasurementRequest(evaluators=(TflmEvaluator(examples=count),), split="eval", batch_size=7)
        names = models[3].report.output_names
        measure(request, model, tmp_path / name, device="board", recipe=name, files=world.files, names=names, task=task)
        write_manifest(tmp_path / name, "measurement", role="measurement", parents={}, code_version="1")
        return Measurement(verified(tmp_path / name))

    champion = on_tflm("first", 45)
    its = {"int8": on_tflm("int8", 40), "float32": on_tflm("float32", 60)}
    content = models[0]["first"][0].read("Format-Serving/tflite")
    _, of_champion = models[1]("champion-there", content, "champion")
    measured = champion, {**its, "first": champion}
    found = against(content, of_champion, models, world, task, measured).on_device
    assert set(found.challengers) == {"int8", "float32"}
    base = (world.labels[:40] == 0).mean()
    assert (found.slices[0].examples, found.slices[0].metrics["accuracy"].value) == (40, pytest.approx(base))
    for name, slices in found.challengers.items():
        right_there = (tflm_answers(models, name, world, 40) == world.labels[:40]).mean()
        assert slices[0].metrics["accuracy"].value == pytest.approx(right_there)
        assert slices[0].change["accuracy"].value == pytest.approx(right_there - base)
    refused = Measurement(champion.artifact)
    refused.stored = {}
    assert against(content, of_champion, models, world, task, (refused, its)).on_device.why


def tflm_answers(models, name, world, count):
    """One example at a time, written without the code under test."""
    from tflite_micro.python.tflite_micro import runtime

    content = models[0][name][0].read("Format-Serving/tflite")
    interpreter = runtime.Interpreter.from_bytes(content)
    source = tf.lite.Interpreter(model_content=content).get_input_details()[0]
    scale, zero_point = source["quantization"]
    answers = []
    for image in world.images[:count, None]:
        raw = np.clip(np.rint(image / scale) + zero_point, -128, 127).astype(np.int8) if scale else image
        interpreter.set_input(raw.astype(source["dtype"]).reshape(source["shape"]), 0)
        interpreter.invoke()
        answers.append(interpreter.get_output(0).argmax())
    return np.array(answers)
