"""What is reported of a recipe's steps from the file alone."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError, load_pipeline
from pipelines.file.user_folders import make_importable
from tests.small_pipeline import SmallPipeline


@pytest.fixture
def small(tmp_path: Path) -> SmallPipeline:
    return SmallPipeline(tmp_path)


def qat(**more: Any) -> dict[str, Any]:
    return {"kind": "qat", "epochs": 2, **more}


def prune(**more: Any) -> dict[str, Any]:
    return {"kind": "prune", "sparsity": 0.8, "epochs": 2, **more}


def cluster(**more: Any) -> dict[str, Any]:
    return {"kind": "cluster", "epochs": 1, **more}


def refused(small: SmallPipeline, scheme: Any, *steps: dict[str, Any]) -> str:
    small.spec["recipes"] = [{"name": "a", "steps": list(steps), "scheme": scheme}]
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.write())
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic_wi8_afp32"])
def test_training_is_refused_for_a_scheme_without_ranges(small: SmallPipeline, scheme: str) -> None:
    said = refused(small, scheme, qat())
    assert "recipes[0].scheme: quantization-aware training needs a scheme with integer activations" in said
    assert f"found: {scheme}" in said
    assert "remove the step `qat`" in said


def test_four_bit_weights_are_refused_without_training(small: SmallPipeline) -> None:
    said = refused(small, "static_wi4_ai8")
    assert "4-bit weights must be trained" in said
    assert "add `steps: [{kind: qat, epochs: 2}]`" in said


@pytest.mark.parametrize("kind", ["static_wi8_ai8", "static_wi8_ai16"])
@pytest.mark.parametrize(
    "more",
    [
        {"calibration_method": "percentile"},
        {"calibration_method": "mse"},
        {"keep_float": "auto"},
        {"keep_float": ["*/head"]},
    ],
)
def test_ranges_are_trained_or_estimated_but_not_both(small: SmallPipeline, kind: str, more: dict[str, Any]) -> None:
    said = refused(small, {"kind": kind, **more}, qat())
    assert (
        "recipes[0].scheme: the step `qat` trains ranges, but the scheme estimates them or keeps layers in float"
        in said
    )
    assert "expected: a scheme without `calibration_method` and `keep_float`" in said
    assert "`activations: {quantizer: histogram}`" in said
    assert "`except` and `float_fallback`" in said


def test_ranges_that_are_the_converters_own_do_not_contradict_training(small: SmallPipeline) -> None:
    scheme = {
        "kind": "static_wi8_ai8",
        "calibration_method": "min_max",
        "granularity": "per_tensor",
        "float_fallback": True,
    }
    small.spec["recipes"] = [{"name": "a", "steps": [qat()], "scheme": scheme}]
    assert load_pipeline(small.write()).spec.recipes[0].trained is not None


def test_step_that_occurs_twice_is_refused(small: SmallPipeline) -> None:
    said = refused(small, "static_wi8_ai8", qat(), qat())
    assert "recipes[0].steps: the step 'qat' occurs more than once" in said


def test_trained_recipe_needs_no_calibration_section(small: SmallPipeline) -> None:
    small.spec["recipes"] = [{"name": "a", "steps": [qat()], "scheme": "static_wi8_ai8"}]
    del small.spec["calibrate"]
    assert load_pipeline(small.write()).spec.recipes[0].trained is not None


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([cluster(), prune()], "the step 'prune' cannot follow 'cluster', whose result it would destroy"),
        ([qat(), prune()], "the step 'prune' cannot follow 'qat'"),
        ([prune(), qat(), cluster()], "the step 'cluster' cannot follow 'qat'"),
        ([prune(), prune()], "the step 'prune' occurs more than once: remove one"),
        ([prune(), cluster(), cluster(), qat()], "the step 'cluster' occurs more than once: remove one"),
    ],
)
def test_step_that_would_destroy_what_came_before_is_refused(
    small: SmallPipeline, steps: list[dict[str, Any]], message: str
) -> None:
    said = refused(small, "static_wi8_ai8", *steps)
    assert f"recipes[0].steps: {message}" in said


@pytest.mark.parametrize(
    ("steps", "zeros", "num_clusters"),
    [
        ([qat()], False, None),
        ([prune(), qat()], True, None),
        ([cluster(num_clusters=8), qat()], False, 8),
        ([prune(), cluster(targets=[{"layers": ["a"], "num_clusters": 32}]), qat()], True, 32),
    ],
    ids=["qat", "pqat", "cqat", "pcqat"],
)
def test_what_training_keeps_follows_from_the_order_of_steps(
    small: SmallPipeline, steps: list[dict[str, Any]], zeros: bool, num_clusters: int | None
) -> None:
    small.spec["recipes"] = [{"name": "a", "steps": steps, "scheme": "static_wi8_ai8"}]
    (recipe,) = load_pipeline(small.write()).spec.recipes
    kept = recipe.invariants_of(recipe.steps[-1])
    assert (kept.zeros, kept.num_clusters) == (zeros, num_clusters)


@pytest.mark.parametrize("structure", ["block_1x4", "block_1x16"])
def test_blocks_are_refused_where_they_compute_wrong_values(small: SmallPipeline, structure: str) -> None:
    own = prune(structure=structure, sparsity=0, targets=[{"layers": ["a"], "sparsity": 0.5}])
    assert "computes wrong values" in refused(small, "dynamic_wi8_afp32", own)
    said = refused(small, "dynamic_wi8_afp32", prune(structure=structure))
    assert (
        "recipes[0].scheme: dynamic range quantization of block-sparse weights silently computes wrong values" in said
    )
    small.spec["recipes"] = [{"name": "a", "steps": [prune()], "scheme": "dynamic_wi8_afp32"}]
    assert load_pipeline(small.write()).spec.recipes[0].sparsity_target


def test_pruning_alone_leaves_ranges_to_calibration(small: SmallPipeline) -> None:
    del small.spec["calibrate"]
    said = refused(small, "static_wi8_ai8", prune(), cluster())
    assert "a static scheme needs activation ranges, but there is no `calibrate` section" in said


@pytest.mark.parametrize(("split", "message"), [("dev", "there is no such split"), ("eval", "would be too optimistic")])
def test_training_split_must_exist_and_not_be_evaluated_on(small: SmallPipeline, split: str, message: str) -> None:
    said = refused(small, "static_wi8_ai8", qat(split=split))
    assert message in said
    assert "recipes[0].steps[0].split" in said


def test_training_split_is_the_baselines_then_the_samples_then_any_other(small: SmallPipeline) -> None:
    small.spec["examples"]["splits"]["patterns"]["more"] = "train*"
    small.spec["recipes"] = [{"name": "a", "steps": [qat()], "scheme": "static_wi8_ai8"}]
    small.spec["baseline"]["split"] = "more"
    spec = load_pipeline(small.write()).spec
    assert spec.training_split(spec.recipes[0].steps[0]) == "more"
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    small.spec["calibrate"]["split"] = "more"
    spec = load_pipeline(small.write()).spec
    assert spec.training_split(spec.recipes[0].steps[0]) == "more"
    del small.spec["calibrate"]
    spec = load_pipeline(small.write()).spec
    assert spec.training_split(spec.recipes[0].steps[0]) == "train"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (qat(weights={"bits": 5}), "recipes[0].steps[0].weights.bits: input should be 4 or 8"),
        (qat(except_layers=["a"]), "unknown field 'except_layers'"),
        (qat(excpt=["a"]), "did you mean 'except'?"),
        (qat(epochs=0), "recipes[0].steps[0].epochs: input should be greater than 0"),
        (qat(delay_activations=2), "delay_activations (2) is not below epochs (2)"),
        (qat(learning_rate=[{"kind": "cosine", "epochs": 3, "start": 0.1, "end": 0.01}]), "take 3 epochs"),
        (qat(learning_rate=[{"kind": "linear", "epochs": 1, "start": 0.1}]), "a linear phase needs an `end`"),
        (qat(configs=[{"layers": ["a"], "weights": "none", "activations": "none"}]), "quantizes nothing"),
        (qat(scheme="a:B", weights={"bits": 4}), "a custom scheme defines everything"),
        (qat(activations={"quantizer": {"kind": "histogram", "percentile": 50}}), "greater than 50"),
        (qat(activations={"quantizer": "histogramm"}), "did you mean 'histogram'?"),
        (prune(sparsity=50), "recipes[0].steps[0].sparsity: sparsity is a fraction in [0, 1); did you mean 0.5?"),
        (prune(schedule={"kind": "polynomial", "end_epoch": 3}), "the schedule must end before training does"),
        (prune(structure="block_4x1"), "recipes[0].steps[0].structure: input should be 'unstructured', '2:4'"),
        (cluster(num_clusters=1), "recipes[0].steps[0].num_clusters: input should be greater than or equal to 2"),
        ({"kind": "quantise", "epochs": 1}, "unknown value 'quantise'"),
    ],
)
def test_bad_step_is_reported_with_its_place(small: SmallPipeline, step: dict[str, Any], message: str) -> None:
    assert message in refused(small, "static_wi8_ai8", step)


def test_object_that_a_step_names_is_looked_for_before_anything_runs(small: SmallPipeline) -> None:
    small.spec["recipes"] = [
        {"name": "a", "steps": [qat(activations={"quantizer": "nowhere:Clip"})], "scheme": "static_wi8_ai8"}
    ]
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        preflight(small.file)
    assert "recipes[0].steps[0]: the module 'nowhere' cannot be found" in str(caught.value)


@pytest.mark.parametrize("step", [qat(), prune(), cluster()], ids=["qat", "prune", "cluster"])
def test_saved_model_without_keras_layers_cannot_be_trained(small: SmallPipeline, step: dict[str, Any]) -> None:
    (small.folder / "model").mkdir()
    (small.folder / "model" / "saved_model.pb").write_bytes(b"a graph")
    small.spec["baseline"] = {"kind": "pretrained", "path": "model"}
    small.spec["recipes"].append({"name": "trained", "steps": [step], "scheme": "static_wi8_ai8"})
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        preflight(small.file)
    said = str(caught.value)
    index = len(small.spec["recipes"]) - 1
    assert f"recipes[{index}] (trained): " in said
    assert f"the step {step['kind']} trains Keras layers, but the baseline is a SavedModel that is a graph" in said
    found = preflight(small.file, skip_impossible=True)
    assert [recipe.name for recipe in found.spec.recipes] == ["float32", "int8"]
    assert [(one.name, one.place) for one in found.skipped] == [("trained", index)]
