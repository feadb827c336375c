import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from components.spec.metric import SHORT_NAMES, MetricSpec
from components.spec.scheme import Float32
from edgemill.main import app
from pipelines.file.load import PipelineFileError, load_pipeline
from pipelines.file.schema import schema_of
from pipelines.file.spec import PipelineSpec, accuracy_bound
from tests.small_pipeline import SmallPipeline

SHIPPED = sorted(path for path in Path("pipelines").glob("*/*.yaml") if path.parent.name != "devices")


@pytest.fixture
def small(tmp_path: Path) -> SmallPipeline:
    return SmallPipeline(tmp_path)


def int8(**options: object) -> dict[str, object]:
    return {"kind": "static_wi8_ai8", **options}


def errors_of(small: SmallPipeline) -> str:
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.write())
    return str(caught.value)


def test_small_pipeline_loads_with_absolute_paths(small: SmallPipeline) -> None:
    loaded = load_pipeline(small.write())
    assert loaded.spec.examples.path == str(small.folder / "data")
    assert loaded.spec.push.root == str(small.folder / "registry")
    assert [device.name for device in loaded.devices] == ["phone_cpu"]


@pytest.mark.parametrize("file", SHIPPED, ids=str)
def test_shipped_pipeline_loads(file: Path) -> None:
    assert load_pipeline(file).spec.recipes


def test_object_store_path_is_kept_as_it_is(small: SmallPipeline) -> None:
    small.spec["examples"]["path"] = "gs://bucket/data"
    assert load_pipeline(small.write()).spec.examples.path == "gs://bucket/data"


def test_one_registry_or_a_list_is_loaded(small: SmallPipeline) -> None:
    s3 = {"kind": "s3", "root": "s3://releases/mill", "channel": "beta"}
    small.spec["push"] = [{"root": "registry"}, s3, {"kind": "gcs", "root": "gs://releases"}]
    local, first, second = load_pipeline(small.write()).spec.push
    assert (local.kind, local.root, local.channel) == ("local", str(small.folder / "registry"), "stable")
    assert first.model_dump() == s3
    assert (second.kind, second.root) == ("gcs", "gs://releases")
    small.spec["push"] = s3
    assert load_pipeline(small.write()).spec.push.model_dump() == s3


@pytest.mark.parametrize("kind", ["s3", "gcs", "local"])
def test_secret_in_the_address_of_a_registry_is_not_repeated(small: SmallPipeline, kind: str) -> None:
    small.spec["push"] = {"kind": kind, "root": f"{'gs' if kind == 'gcs' else 's3'}://key:hunter22@bucket/x"}
    said = errors_of(small)
    assert "push.root: " in said
    assert "hunter22" not in said


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("baseline", "batchsize"),
            64,
            "baseline.batchsize: unknown field 'batchsize'; did you mean 'batch_size'?",
        ),
        (("nmae",), "x", "nmae: unknown field 'nmae'; did you mean 'name'?"),
        (("name",), "My Pipeline", "name: this text does not match the pattern"),
        (("name",), "a" * 64, "name: this text does not match the pattern"),  # TFX refuses it with a traceback
        (("baseline", "epochs"), "many", "baseline.epochs: input should be a valid integer"),
        (("baseline", "epochs"), 0, "baseline.epochs: input should be greater than 0 (found: 0)"),
        (("calibrate", "samples"), -3, "calibrate.samples: input should be greater than 0 (found: -3)"),
        (("examples", "kind"), "tfrecords", "examples: unknown value 'tfrecords'; did you mean 'tfrecord'?"),
        (("recipes", 1, "scheme"), "static_w8_a8", "recipes[1].scheme: unknown value 'static_w8_a8'; did you mean"),
        (
            ("recipes", 0, "scheme"),
            {"kind": "float16", "float_io": True},
            "recipes[0].scheme.float_io: unknown field 'float_io'",
        ),
        (("recipes", 1, "name"), "float32", "recipes: the name 'float32' occurs more than once"),
        (("calibrate",), None, "recipes[1].scheme: a static scheme needs activation ranges"),
        (("calibrate", "split"), "eval", "calibrate.split: this split is also the evaluation split"),
        (
            ("evaluate", "split"),
            "test",
            "evaluate.split: there is no such split (expected: one of train, eval; found: test)",
        ),
        (("evaluate", "metrics"), ["acuracy"], "'acuracy' is not a short name of a metric; did you mean 'accuracy'?"),
        (("gate", "metrics", 0, "name"), "auc", "gate.metrics[0].name: the gate bounds a metric that is not evaluated"),
        (("gate", "metrics", 0), {"name": "accuracy"}, "has no bound: set at_least"),
        (("gate", "metrics", 0, "at_most"), 0.5, "at_least (0.8) is above at_most (0.5): nothing can pass"),
        (("gate", "prefer"), "tiny", "gate.prefer: input should be 'smallest', 'smallest_compressed', 'fastest' or"),
        (("devices",), ["phone_cup"], "there is no device profile 'phone_cup'; did you mean 'phone_cpu'?"),
        (("devices",), [], "devices: tuple should have at least 1 item"),
        (("recipes", 0, "name"), "float_reference", "recipes[0].name: this name belongs to the float32 file"),
        (
            ("push", "root"),
            "s3://bucket/reg",
            "push.root: this kind of registry is a folder (expected: a local path, or ",
        ),
        (("push",), {"kind": "s33", "root": "x"}, "push: unknown value 's33'; did you mean 's3'? (expected: one of"),
        (("push",), {"kind": "s3"}, "push.root: this field is required"),
        (("push",), [], "push: tuple should have at least 1 item"),
        (("push",), "registry", "push: input should be a valid dictionary"),
        (("push",), [{"root": "r"}, {"kind": "s33"}], "push[1]: unknown value 's33'; did you mean 's3'?"),
        (("push",), [{"root": "r"}, {"root": "r", "channels": "x"}], "push[1].channels: unknown field 'channels'"),
        (("push",), [{"kind": "s3", "root": "gs://b/x"}], "push[0].root: this text does not match the pattern"),
        (("push",), [{"root": "r"}, {"root": "s3://b/r"}], "push[1].root: this kind of registry is a folder"),
        (
            ("push",),
            [{"root": "r"}, {"kind": "local", "root": "r"}],
            "push[1]: this registry is listed twice (found: also",
        ),
        (("push",), [{"root": "r"}, {"root": "./r/"}], "push[1]: this registry is listed twice (found: also push[0])"),
        (
            ("push",),
            [{"kind": "s3", "root": "s3://bucket/r"}, {"kind": "s3", "root": "s3://bucket/r/"}],
            "push[1]: this registry is listed twice (found: also push[0])",
        ),
        (
            ("push",),
            {"kind": "s3", "root": "gs://b/x"},
            "push.root: this text does not match the pattern (expected: the",
        ),
        (("push",), {"kind": "gcs", "root": "gs://Bucket"}, "push.root: this text does not match the pattern"),
        (
            ("push",),
            {"root": "r", "channels": "x"},
            "push.channels: unknown field 'channels'; did you mean 'channel'?",
        ),
        (("examples", "schema_file"), "gs://b/s", "examples.schema_file: object stores cannot be used here"),
        (("baseline",), {"kind": "pretrained", "path": "gs://b/m"}, "baseline.path: object stores cannot be used here"),
        (("devices",), ["gs://b/mine.yaml"], "devices[0]: object stores cannot be used here"),
        (("examples", "splits", "patterns", "train"), "/data/train*", "patterns.train: this pattern is absolute"),
        (("examples", "splits", "patterns", "train"), "", "patterns.train: this pattern matches no file"),
        (("examples", "splits", "patterns", "train"), ".", "patterns.train: this pattern matches no file"),
        (("examples", "splits", "patterns", "train"), "a**/b", "patterns.train: `**` matches whole folders"),
        (("examples", "splits"), {"kind": "hashed", "pattern": "/x"}, "splits.pattern: this pattern is absolute"),
        (
            ("recipes", 0, "scheme"),
            {"kind": "static_wi8_ai8", "float_oi": True},
            "recipes[0].scheme.float_oi: unknown field 'float_oi'; did you mean 'float_io'?",
        ),
        (
            ("recipes", 1, "scheme"),
            int8(calibration_method="percntile"),
            "recipes[1].scheme.calibration_method: unknown value 'percntile'; did",
        ),
        (
            ("recipes", 1, "scheme"),
            {"kind": "static_wi8_ai16", "calibration_method": "entropy"},
            "recipes[1].scheme.calibration_method: unknown value 'entropy' (expected: one of min_max, percentile",
        ),
        (
            ("recipes", 1, "scheme"),
            int8(calibration_method={"kind": "percentile", "percentile": 50}),
            "recipes[1].scheme.calibration_method.percentile: input should be greater than 50 (found: 50)",
        ),
        (
            ("recipes", 1, "scheme"),
            int8(calibration_method={"kind": "percentile", "percentile": 100.1}),
            "recipes[1].scheme.calibration_method.percentile: input should be less than or equal to 100",
        ),
        (
            ("recipes", 1, "scheme"),
            int8(calibration_method={"kind": "mse", "percentile": 99}),
            "unknown field 'percentile'",
        ),
        (("recipes", 1, "scheme"), int8(keep_float="aut"), "recipes[1].scheme.keep_float: unknown value 'aut'; did"),
        (
            ("recipes", 1, "scheme"),
            int8(keep_float=[]),
            "recipes[1].scheme.keep_float.names: tuple should have at least",
        ),
        (
            ("recipes", 1, "scheme"),
            int8(keep_float={"kind": "auto", "max_drop": -0.1}),
            "recipes[1].scheme.keep_float.max_drop: input should be greater than or equal to 0",
        ),
        (
            ("recipes", 0, "scheme"),
            {"kind": "dynamic_wi8_afp32", "calibration_method": "mse"},
            "recipes[0].scheme.calibration_method: unknown field 'calibration_method'",
        ),
        (
            ("recipes", 0, "scheme"),
            {"kind": "static_wi8_ai8", "ranges": "mse"},
            "recipes[0].scheme.ranges: this field is now called 'calibration_method'",
        ),
        (
            ("recipes", 0, "steps"),
            [{"kind": "cluster", "centroids": 8, "epochs": 1}],
            "recipes[0].steps[0].centroids: this field is now called 'num_clusters'",
        ),
        (("gate", "max_step_error"), 0.1, "gate.max_step_error: this field is now called 'max_state_error'"),
        (("gate", "metrics", 0, "at_least"), float("nan"), "gate.metrics[0].at_least: input should be a finite number"),
        (("gate", "metrics", 0, "at_most"), float("inf"), "gate.metrics[0].at_most: input should be a finite number"),
        (("gate", "metrics", 0, "max_drop_from_baseline"), float("inf"), "input should be a finite number"),
        (("gate", "metrics", 0, "max_rise_from_baseline"), float("nan"), "input should be a finite number"),
        (("convert",), {"timeout_s": float("inf")}, "convert.timeout_s: input should be a finite number"),
        (("task",), "no colon", "task: this text does not match the pattern"),
        (
            ("gate", "metrics", 0, "at_least"),
            2,
            "gate.metrics[0].at_least: this bound never holds, regardless of the model",
        ),
        (("gate", "metrics", 0, "at_least"), 0, "expected: 'accuracy' ranges from 0 to 1; found: 0)"),
        (
            ("gate", "metrics", 0, "at_most"),
            1,
            "gate.metrics[0].at_most: this bound always holds, regardless of the model",
        ),
        (("gate", "metrics", 0, "max_drop_from_baseline"), 1.0, "max_drop_from_baseline: this bound always holds"),
        (("baseline", "epochs"), True, "baseline.epochs: must be a number, not a boolean"),
        (("gate", "metrics", 0, "at_least"), True, "gate.metrics[0].at_least: must be a number"),
        (("convert",), {"timeout_s": True}, "convert.timeout_s: must be a number, not a boolean"),
        (
            ("examples", "splits"),
            {"kind": "hashed", "buckets": {"train": 4, "eval": True}},
            "examples.splits.buckets.eval: must be a number",
        ),
        (
            ("recipes", 1, "steps"),
            [{"kind": "cluster", "epochs": 2, "seed": True}],
            "recipes[1].steps[0].seed: must be a number, not a boolean (found",
        ),
        (("baseline", "epochs"), 10**18, "baseline.epochs: input should be less than or equal to 1000000"),
        (
            ("recipes", 1, "steps"),
            [{"kind": "cluster", "epochs": 10**18}],
            "input should be less than or equal to 1000000",
        ),
        (
            ("recipes", 1, "steps"),
            [{"kind": "prune", "epochs": 1, "sparsity": True}],
            "recipes[1].steps[0].sparsity: input should be less than 1 (found: True)",
        ),
        (("recipes", 1, "steps"), [{"kind": "prune", "epochs": 1, "sparsity": "1.5"}], "input should be less than 1"),
        (("convert",), {"timeout_s": 1e18}, "convert.timeout_s: input should be less than or equal to 31536000"),
        (("examples", "num_classes"), 10**18, "examples.num_classes: input should be less than 2147483648"),
        (("examples", "max_overlap"), True, "examples.max_overlap: must be a number, not a boolean"),
        (("examples", "max_overlap"), 1.5, "examples.max_overlap: input should be less than or equal to 1"),
        (("baseline", "batch_size"), 1 << 31, "baseline.batch_size: input should be less than 2147483648"),
        (("baseline", "seed"), -1, "baseline.seed: input should be greater than or equal to 0 (found: -1)"),
        (("baseline", "seed"), 1 << 32, "baseline.seed: input should be less than 4294967296 (found: 4294967296)"),
        (("calibrate", "seed"), -1, "calibrate.seed: input should be greater than or equal to 0 (found: -1)"),
        (("recipes", 1, "steps"), [{"kind": "cluster", "epochs": 1, "seed": 1 << 32}], "less than 4294967296"),
        (
            ("examples", "splits", "patterns"),
            {"train": "train*", "eval": "eval*", "my split": "a*"},
            "TFX accepts no split called 'my split': a name has at most 100 letters, digits, hyphens, and underscores",
        ),
        (("examples", "splits", "patterns"), {"train": "train*", "eval": "eval*", "": "a*"}, "no split called ''"),
        (("examples", "splits", "patterns"), {"train": "train*", "eval": "eval*", "a" * 101: "a*"}, "at most 100"),
        (("examples", "splits"), {"kind": "hashed", "buckets": {"train": 4, "_eval": 1}}, "no split called '_eval'"),
    ],
)
def test_bad_field_is_named_with_bound_value_and_fix(
    small: SmallPipeline, place: tuple[str | int, ...], value: object, message: str
) -> None:
    target = small.spec
    for part in place[:-1]:
        target = target[part]  # type: ignore[index]
    target[place[-1]] = value  # type: ignore[index]
    said = errors_of(small)
    assert message in said
    assert "Remedy: " in said


def test_several_errors_are_reported_at_once(small: SmallPipeline) -> None:
    small.spec["baseline"]["batchsize"] = 1
    small.spec["gate"]["prefer"] = "tiny"
    small.spec["calibrate"]["samples"] = 0
    said = errors_of(small)
    assert "3 errors in the pipeline file" in said
    assert said.count("\n  - ") == 3


@pytest.mark.parametrize(
    ("place", "value", "remedy"),
    [
        (("baseline", "epochs"), 0, "write a number above 0 and of at most 1,000,000"),
        (("baseline", "seed"), -1, "write a number of at least 0 and below 4,294,967,296"),
        (("gate", "max_state_error"), 0, "write a number above 0"),
        (("gate", "max_saturated_outputs"), 2, "write a number of at least 0 and below 1"),
        (("gate", "max_state_error"), float("nan"), "write a finite number, or remove the field"),
        (("gate", "prefer"), "smalest", "write one of these"),
    ],
)
def test_remedy_names_the_range_of_a_number_and_the_nearest_word(
    small: SmallPipeline, place: tuple[str, str], value: object, remedy: str
) -> None:
    small.spec[place[0]][place[1]] = value
    said = errors_of(small)
    assert said.endswith(f"Remedy: {remedy}")
    assert ("; did you mean 'smallest'?" in said) == (value == "smalest")


def test_one_mistake_is_one_error(small: SmallPipeline) -> None:
    small.spec["devices"] *= 2
    assert errors_of(small).endswith(
        f"devices: the name '{small.spec['devices'][0]}' occurs more than once. Remedy: remove one"
    )
    assert "one error in the pipeline file" in errors_of(small)
    del small.spec["devices"][1:]
    small.spec["gate"]["metrics"] = [{"name": "accuracy", "at_most": 1}]
    said = errors_of(small)
    assert "one error in the pipeline file" in said and "use at_least instead" in said
    small.spec["gate"]["metrics"] = [{"name": "acuracy", "at_least": 0.5}]
    said = errors_of(small)
    assert "one error in the pipeline file" in said
    assert (
        "not evaluated; did you mean 'accuracy'? (expected: accuracy; found: acuracy). Remedy: correct the name" in said
    )


def test_repeated_section_is_the_only_error(small: SmallPipeline) -> None:
    small.file.write_text(small.write().read_text() + "evaluate: {metrics: [auc]}\n")
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.file)
    assert [error.what for error in caught.value.errors] == ["the key 'evaluate' occurs twice"]


@pytest.mark.parametrize(("encoding", "found"), [("utf-16", "UTF-16"), ("latin-1", "the byte 0xe9 at position 2")])
def test_file_in_another_encoding_is_named(tmp_path: Path, encoding: str, found: str) -> None:
    (tmp_path / "p.yaml").write_bytes("# \u00e9\n".encode(encoding))
    with pytest.raises(PipelineFileError, match=f"is not UTF-8 text .*found: {found}.*save the file as UTF-8"):
        load_pipeline(tmp_path / "p.yaml")


def test_device_profile_that_is_no_file_is_described(small: SmallPipeline) -> None:
    os.mkfifo(small.folder / "mine")
    small.spec["devices"] = ["mine"]
    assert f"found: {small.folder / 'mine'}, a named pipe)" in errors_of(small)


def test_list_is_not_called_too_short_when_its_items_are_wrong(small: SmallPipeline) -> None:
    small.spec["recipes"] = [{"name": "int8", "scheme": "static_w8"}]
    small.spec["evaluate"]["metrics"] = ["acuracy"]
    said = errors_of(small)
    assert "2 errors in the pipeline file" in said
    assert "at least 1 item" not in said


@pytest.mark.parametrize("option", [{"float_io": True}, {"float_fallback": True}, {"keep_float": "auto"}], ids=str)
def test_device_of_integers_only_needs_a_recipe_that_promises_them(
    small: SmallPipeline, option: dict[str, object]
) -> None:
    small.spec["devices"] = ["cortex_m55"]
    small.spec["recipes"] = [{"name": "int8", "scheme": int8(**option)}]
    said = errors_of(small)
    assert "devices[0]: the device 'cortex_m55' is integer-only, but no recipe for it guarantees" in said
    assert (
        "expected: a static scheme without float_io, float_fallback, and keep_float; found: int8: static_wi8_ai8"
        in said
    )
    small.spec["recipes"].append({"name": "all_int8", "scheme": "static_wi8_ai8"})
    assert load_pipeline(small.write()).spec.recipes


def test_short_forms_of_options_are_what_they_stand_for(small: SmallPipeline) -> None:
    small.spec["recipes"] = [
        {"name": "short", "scheme": int8(calibration_method="percentile", keep_float="auto")},
        {"name": "names", "scheme": int8(calibration_method="mse", keep_float=["*/dense", "logits"])},
    ]
    short, names = (recipe.scheme.model_dump() for recipe in load_pipeline(small.write()).spec.recipes)
    assert short["calibration_method"] == {"kind": "percentile", "percentile": 99.9}
    assert short["keep_float"] == {"kind": "auto", "max_drop": None}
    assert names["keep_float"] == {"kind": "layers", "names": ("*/dense", "logits")}


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
def test_fewest_float_layers_need_a_bound_to_hold(small: SmallPipeline, metric: str) -> None:
    field, at = ("max_drop", "at_least") if metric == "accuracy" else ("max_rise", "at_most")
    small.spec["recipes"] = [{"name": "auto", "scheme": int8(keep_float="auto")}]
    small.spec["evaluate"]["metrics"] = [metric]
    small.spec["gate"]["metrics"] = [
        {"name": metric, at: 0.5},
        {"name": metric, "slices": ["label"], f"{field}_from_baseline": 0.1},
    ]
    said = errors_of(small)
    assert (
        f"recipes[0].scheme.keep_float: it has no accuracy bound: the gate has no overall {field}_from_baseline" in said
    )
    assert "Remedy: write `keep_float: {kind: auto, max_drop: 0.01}`" in said
    small.spec["gate"]["metrics"].append({"name": metric, f"{field}_from_baseline": 0.02})
    small.spec["gate"]["metrics"].append({"name": metric, f"{field}_from_baseline": 0.03})
    spec = load_pipeline(small.write()).spec
    bound = accuracy_bound(spec, spec.recipes[0])
    assert bound and (bound.max_drop, bound.less_is_better, bound.label) == (0.02, metric == "cross_entropy", "label")
    assert bound.class_name.startswith("SparseCategorical")
    small.spec["gate"]["metrics"] = [{"name": metric, at: 0.5}]
    small.spec["recipes"][0]["scheme"] = int8(keep_float={"kind": "auto", "max_drop": 0.007})
    spec = load_pipeline(small.write()).spec
    bound = accuracy_bound(spec, spec.recipes[0])
    assert bound and bound.max_drop == 0.007
    small.spec["recipes"][0]["scheme"] = int8(keep_float={"kind": "auto", "max_drop": 1.0})
    if metric == "accuracy":
        said = errors_of(small)
        assert "recipes[0].scheme.keep_float.max_drop: this bound always holds" in said
        assert "(expected: less than 1: 'accuracy' ranges from 0 to 1; found: 1)" in said
    else:
        load_pipeline(small.write())
    assert accuracy_bound(spec, spec.recipes[0].model_copy(update={"scheme": Float32()})) is None


def test_fewest_float_layers_need_a_metric_whose_direction_is_known(small: SmallPipeline) -> None:
    small.spec["recipes"] = [{"name": "auto", "scheme": int8(keep_float="auto")}]
    small.spec["evaluate"]["metrics"] = [{"name": "accuracy", "class_name": "MeanLabel"}]
    assert "keep_float: it is unknown whether the first metric 'accuracy' is better when higher or lower" in errors_of(
        small
    )


def test_repeated_key_is_reported_with_both_lines(small: SmallPipeline) -> None:
    text = small.write().read_text().replace("  epochs: 5\n", "  epochs: 5\n  seed: 3\n")
    small.file.write_text(text)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line == "  seed: 3"]
    assert len(lines) == 2
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.file)
    assert (
        f"line {lines[1]}: the key 'seed' occurs twice (expected: each key once; found: also in line {lines[0]})"
        in str(caught.value)
    )


def test_repeated_keys_are_reported_in_one_line_but_aliases_are_none(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("a: &a {x: 1, x: 2}\nb: *a\nc: {x: 1}\n1: 2\n'1': 3\n")
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(tmp_path / "p.yaml")
    assert str(caught.value).count("occurs twice") == 1


@pytest.mark.parametrize(
    ("bound", "crossed"),
    [
        ("label", [("label",)]),
        ("label=3", [("label",)]),
        ("overall", []),
        ("sex, age", [("sex", "age")]),
        ("sex=f, age=3", [("sex", "age")]),
        ("job=Craft, repair", [("job",)]),
        ("age,hand", [("hand", "age")]),
    ],
)
def test_bound_adds_the_crossed_features_that_it_needs(
    small: SmallPipeline, bound: str, crossed: list[tuple[str, ...]]
) -> None:
    small.spec["evaluate"]["slices"] = [["hand", "age"]]
    small.spec["gate"]["metrics"][0]["slices"] = [bound]
    others = [each for each in crossed if set(each) != {"hand", "age"}]
    assert load_pipeline(small.write()).spec.slices() == (("hand", "age"), *others)


def test_device_that_runs_no_recipe_is_named(small: SmallPipeline) -> None:
    small.spec["devices"] = ["cortex_m55"]
    small.spec["recipes"] = [{"name": "half", "scheme": "float16"}]
    assert "devices[0]: the device 'cortex_m55' can't run any of the recipes" in errors_of(small)


def test_own_device_profile_is_read_beside_the_file(small: SmallPipeline) -> None:
    profile = {"name": "mine", "device_class": "mine", "description": "a board", "schemes": ["static_wi8_ai8"]}
    (small.folder / "mine.yaml").write_text(yaml.safe_dump(profile))
    small.spec["devices"] = ["mine.yaml"]
    assert load_pipeline(small.write()).devices[0].schemes == ("static_wi8_ai8",)
    (small.folder / "mine.yaml").write_text(yaml.safe_dump({**profile, "max_gz_bytes": 3}))
    assert (
        f"devices[0] ({small.folder / 'mine.yaml'}): max_gz_bytes: unknown field 'max_gz_bytes'; "
        "did you mean 'max_gzip_bytes'?" in errors_of(small)
    )
    (small.folder / "mine.yaml").unlink()
    assert f"devices[0] ({small.folder / 'mine.yaml'}): cannot be read: No such file" in errors_of(small)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "The file must be a mapping of `key: value` pairs (found: list)"),
        ("", "The file must be a mapping of"),
    ],
)
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PipelineFileError, match=message.replace("(", r"\(").replace(")", r"\)")):
        load_pipeline(tmp_path / "p.yaml")


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "its aliases expand to too many values"),
        ("a: &a [*a]", "has an alias inside its own anchor"),
        ("a: " + "[" * 1200 + "]" * 1200, "is nested too deeply"),
        ("a: x\n" * 200_000, "is too large for a pipeline, environment, or device file"),
        ('a: "x\\0y"', "contains a NUL byte"),
        ("name: 1" + ":59" * 5000, "line 1: this number is too long"),
        ("name: 0x" + "f" * 5000, "line 1: this number is too long"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: !!bool x", "is not YAML"),
    ],
    ids=["aliases", "cycle", "depth", "size", "nul", "sexagesimal", "hexadecimal", "timestamp", "bool"],
)
@pytest.mark.parametrize("kind", ["pipeline", "profile"])
def test_yaml_beyond_all_bounds_is_an_error_at_once(small: SmallPipeline, text: str, message: str, kind: str) -> None:
    bad = small.folder / "bad.yaml"
    bad.write_text(text)
    if kind == "profile":
        small.spec["devices"] = ["bad.yaml"]
        assert message in errors_of(small)
    else:
        with pytest.raises(PipelineFileError, match=message):
            load_pipeline(bad)


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder", "long"])
def test_path_of_no_regular_file_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero"), "long": tmp_path / ("a" * 5000)}.get(kind, tmp_path / "p.yaml")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    ran = CliRunner().invoke(app, ["validate", str(path)])
    assert ran.exit_code == 2
    assert "Remedy: " in ran.output


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "long"])
@pytest.mark.parametrize("field", ["examples.path", "push.root", "baseline.path"])
def test_path_in_the_file_that_is_no_folder_is_an_error_at_once(small: SmallPipeline, kind: str, field: str) -> None:
    path = {"device": Path("/dev/zero"), "long": Path("a" * 5000)}.get(kind, small.folder / "odd.h5")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    small.spec["baseline"] = {"kind": "pretrained", "path": str(path)} if "baseline" in field else {"epochs": 1}
    section, _, name = field.partition(".")
    small.spec[section][name] = str(path)
    ran = CliRunner().invoke(app, ["validate", str(small.write())])
    assert (ran.exit_code, type(ran.exception)) == (2, SystemExit)
    assert "Remedy: " in ran.output


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError, match="cannot be read: No such file or directory"):
        load_pipeline(tmp_path / "p.yaml")


def test_schema_describes_every_field_of_the_root() -> None:
    schema = schema_of(PipelineSpec)
    assert set(schema["properties"]) >= {"name", "task", "examples", "baseline", "recipes", "devices", "gate", "push"}
    assert schema["additionalProperties"] is False
    json.dumps(schema)


def test_schema_completes_names_of_schemes_and_metrics_and_the_options_of_schemes() -> None:
    schema = schema_of(PipelineSpec)
    scheme = schema["$defs"]["Recipe"]["properties"]["scheme"]
    names, options = scheme["anyOf"]
    assert names["enum"] == [
        "float32",
        "float16",
        "dynamic_wi8_afp32",
        "static_wi8_ai8",
        "static_wi8_ai16",
        "static_wi4_ai8",
    ]
    assert set(options["discriminator"]["mapping"]) == set(names["enum"])
    metric = schema["$defs"]["EvaluationSpec"]["properties"]["metrics"]["items"]
    assert metric["anyOf"][0]["enum"] == list(SHORT_NAMES)
    assert metric["anyOf"][1] == {"$ref": "#/$defs/MetricSpec"}


def test_loading_and_preflight_import_no_heavy_module(small: SmallPipeline) -> None:
    small.write()
    code = f"""
import sys
from pathlib import Path
from pipelines.checks.preflight import preflight
from pipelines.file.user_folders import make_importable
make_importable(Path({str(small.file)!r}))
preflight(Path({str(small.file)!r}))
heavy = [m for m in ("tensorflow", "tfx", "apache_beam", {small.spec["task"].partition(":")[0]!r}) if m in sys.modules]
print(heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


ERROR = {"name": "mine", "class_name": "MeanAbsolutePercentageError"}


@pytest.mark.parametrize(
    ("metric", "bound", "wrong", "right"),
    [
        ("mean_absolute_error", {"at_least": 0.1}, "at_least", "at_most"),
        ("cross_entropy", {"max_drop_from_baseline": 0.1}, "max_drop_from_baseline", "max_rise_from_baseline"),
        ("auc", {"at_most": 0.9}, "at_most", "at_least"),
        ("top_5_accuracy", {"max_rise_from_baseline": 0.1}, "max_rise_from_baseline", "max_drop_from_baseline"),
        (ERROR, {"at_least": 0.1, "max_rise_from_baseline": 0.1}, "at_least", "at_most"),
    ],
)
def test_bound_in_the_wrong_direction_is_refused(
    small: SmallPipeline, metric: str | dict[str, str], bound: dict[str, float], wrong: str, right: str
) -> None:
    name = metric if isinstance(metric, str) else metric["name"]
    small.spec["evaluate"]["metrics"] = [metric]
    small.spec["gate"]["metrics"] = [{"name": name, **bound}]
    said = errors_of(small)
    assert f"gate.metrics[0].{wrong}: " in said
    assert f"of the metric {name!r} is better, so this bound lets the worst values pass" in said
    assert f"Remedy: use {right} instead" in said


@pytest.mark.parametrize(
    ("metric", "bound"),
    [
        ("accuracy", {"at_least": 0.1, "at_most": 0.999, "max_drop_from_baseline": 0.999}),
        ("mean_squared_error", {"at_least": 0.1, "at_most": 0.5, "max_rise_from_baseline": 0.1}),
        ("accuracy", {"at_least": 0.1, "at_most": 0.99}),
        ({"name": "mine", "class_name": "MeanLabel"}, {"at_least": 0.1, "max_rise_from_baseline": 0.1}),
    ],
)
def test_range_and_unknown_direction_are_accepted(
    small: SmallPipeline, metric: str | dict[str, str], bound: dict[str, float]
) -> None:
    small.spec["evaluate"]["metrics"] = [metric]
    small.spec["gate"]["metrics"] = [{"name": metric if isinstance(metric, str) else metric["name"], **bound}]
    assert load_pipeline(small.write()).spec.gate.metrics[0].at_least == 0.1


@pytest.mark.parametrize(
    ("less_is_better", "classes"),
    [
        (False, ["SparseCategoricalAccuracy", "AUC", "PrecisionAtRecall", "F1Score", "tf_keras.metrics.BinaryIoU"]),
        (True, ["RootMeanSquaredError", "BinaryCrossentropy", "LogCoshError", "CategoricalHinge", "KLDivergence"]),
        (None, ["MeanLabel", "ExampleCount", "ConfusionMatrixPlot", "mine>WorstAccuracy", "mine>MaxError"]),
    ],
)
def test_direction_of_a_metric_is_known_by_its_class(less_is_better: bool | None, classes: list[str]) -> None:
    found = {name: MetricSpec(name="mine", class_name=name).less_is_better for name in classes}
    assert found == dict.fromkeys(classes, less_is_better)


def test_direction_is_known_of_every_short_name() -> None:
    assert {name for name, short in SHORT_NAMES.items() if MetricSpec(name=name, **short).less_is_better} == {
        "character_error_rate",
        "cross_entropy",
        "keypoint_error",
        "mean_absolute_error",
        "mean_squared_error",
        "word_error_rate",
    }
    assert all(MetricSpec(name=name, **short).less_is_better is not None for name, short in SHORT_NAMES.items())


@pytest.mark.parametrize(
    ("metric", "field", "limit", "outcome"),
    [
        ("auc", "at_least", 1.0, None),
        ("auc", "at_least", 1.2, "never"),
        ("mean_squared_error", "at_most", 0.0, None),
        ("mean_squared_error", "at_most", -0.1, "never"),
        ("mean_squared_error", "at_most", 250.0, None),
        ("mean_squared_error", "max_rise_from_baseline", 40.0, None),
        ({"name": "mine", "class_name": "MeanLabel"}, "at_least", 5.0, None),
        ({"name": "mine", "class_name": "R2Score"}, "at_least", -1.0, None),
        ({"name": "mine", "class_name": "R2Score"}, "at_least", 1.5, "never"),
        ({"name": "mine", "class_name": "CosineSimilarity"}, "at_least", 0.0, None),
        ({"name": "mine", "class_name": "CosineSimilarity"}, "at_least", -1.0, "always"),
        ({"name": "mine", "class_name": "FalsePositives"}, "at_most", 20.0, None),
        ({"name": "mine", "class_name": "FalsePositives"}, "at_most", -1.0, "never"),
    ],
)
def test_bound_that_a_metric_cannot_meet_is_refused_and_others_are_not(
    small: SmallPipeline, metric: str | dict[str, str], field: str, limit: float, outcome: str | None
) -> None:
    small.spec["evaluate"]["metrics"] = [metric]
    name = metric if isinstance(metric, str) else metric["name"]
    small.spec["gate"]["metrics"] = [{"name": name, field: limit}]
    if outcome is None:
        assert load_pipeline(small.write()).spec.gate.metrics[0].name == name
    else:
        assert f"gate.metrics[0].{field}: this bound {outcome} holds, regardless of the model" in errors_of(small)


@pytest.mark.parametrize(
    ("metric", "whole", "slices", "refused"),
    [
        ("accuracy", {"at_least": 0.9}, {"at_most": 0.8}, True),
        ("accuracy", {"at_most": 0.7}, {"at_least": 0.8}, True),
        ("accuracy", {"at_least": 0.8}, {"at_most": 0.9}, False),
        # The whole split can have a greater area than each slice.
        ("auc", {"at_least": 0.9}, {"at_most": 0.8}, False),
    ],
)
def test_bound_on_the_whole_split_is_refused_when_no_average_of_slices_meets_it(
    small: SmallPipeline, metric: str, whole: dict[str, float], slices: dict[str, float], refused: bool
) -> None:
    small.spec["evaluate"] |= {"metrics": [metric], "slices": [["label"]]}
    both = {"at_least": 0.1, "at_most": 0.99}
    small.spec["gate"]["metrics"] = [
        {"name": metric, **both, **whole},
        {"name": metric, **both, **slices, "slices": ["label"]},
    ]
    if refused:
        ((field, limit),) = whole.items()
        expected = f"the average of all slices can't be {field.replace('_', ' ')} {limit:g} if each is"
        assert f"gate.metrics[0].{field}: {expected}" in errors_of(small)
    else:
        load_pipeline(small.write())


@pytest.mark.parametrize(
    ("metric", "low", "high", "said"),
    [
        ("accuracy", "label=6, age", "label=6", "[1].at_most"),
        ("accuracy", "label=6", "label=6, age", "[0].at_least"),
        ("accuracy", "label, age", "label=6", "[1].at_most"),
        ("accuracy", "label=6, age", "label", "[1].at_most"),
        ("accuracy", "label, age, sex", "age", "[1].at_most"),
        # Two ways to divide the whole split.
        ("accuracy", "sex", "age", "[0].at_least"),
        ("accuracy", "label=6, sex", "age, label", "[0].at_least"),
        # One slice says nothing about the others.
        ("accuracy", "label, age=30", "label", None),
        ("accuracy", "label=6, sex", "label=5", None),
        ("accuracy", "label=6", "sex", None),
        ("accuracy", "label=6, age", "", None),
        ("auc", "label, age", "label", None),
    ],
)
def test_bounds_on_nested_slices_are_refused_when_no_average_meets_both(
    small: SmallPipeline, metric: str, low: str, high: str, said: str | None
) -> None:
    small.spec["evaluate"] |= {"metrics": [metric], "slices": [["label"], ["sex"], ["age"]]}
    bounds = ({"at_least": 0.9, "at_most": 0.99}, {"at_least": 0.1, "at_most": 0.8})
    small.spec["gate"]["metrics"] = [
        {"name": metric, **bound, "slices": [named] if named else []}
        for bound, named in zip(bounds, (low, high), strict=True)
    ]
    if said is None:
        load_pipeline(small.write())
    else:
        errors = errors_of(small)
        assert f"gate.metrics{said}: the average of all slices can't be" in errors
        assert f"{'each ' if ',' in low or low == 'sex' else ''}{low}, at_most: 0.8 on" in errors


@pytest.mark.parametrize(
    ("metric", "within", "expected"),
    [
        ("accuracy", 0.99, None),
        ("accuracy", 1, "less than 1: 'accuracy', the first metric of the gate, ranges from 0 to 1; found: 1)"),
        ({"name": "mine", "class_name": "CosineSimilarity"}, 1.5, None),
        ({"name": "mine", "class_name": "CosineSimilarity"}, 3, "less than 2: 'mine', the first metric of the gate"),
        ({"name": "mine", "class_name": "MeanLabel"}, 3, None),
        ("mean_squared_error", 3, None),
    ],
)
def test_tolerance_that_every_candidate_is_within_is_refused(
    small: SmallPipeline, metric: str | dict[str, str], within: float, expected: str | None
) -> None:
    small.spec["evaluate"]["metrics"] = ["top_5_accuracy", metric]
    name = metric if isinstance(metric, str) else metric["name"]
    bound = {"max_rise_from_baseline": 0.1} if name == "mean_squared_error" else {"max_drop_from_baseline": 0.1}
    small.spec["gate"]["metrics"] = [{"name": name, **bound}]
    small.spec["gate"]["prefer"] = {"by": "fastest", "within": within}
    if expected is None:
        assert load_pipeline(small.write()).spec.gate.prefer.within == within
    else:
        said = errors_of(small)
        assert "gate.prefer.within: every candidate is within this tolerance, regardless of the model" in said
        assert expected in said and "or write `prefer: fastest`" in said


def test_greatest_seed_is_accepted_and_quoted_numbers_are_no_booleans(small: SmallPipeline) -> None:
    small.spec["baseline"]["seed"] = small.spec["calibrate"]["seed"] = (1 << 32) - 1
    small.spec["baseline"]["epochs"] = 1
    assert load_pipeline(small.write()).spec.baseline.model_dump()["seed"] == 4294967295
