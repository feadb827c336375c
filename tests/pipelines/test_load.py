import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.load import PipelineFileError, load_pipeline, pipeline_schema
from tests.small_pipeline import SmallPipeline

SHIPPED = sorted(Path("pipelines").glob("*/pipeline.yaml"))


@pytest.fixture
def small(tmp_path: Path) -> SmallPipeline:
    return SmallPipeline(tmp_path)


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


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("baseline", "batchsize"),
            64,
            "baseline.batchsize: there is no field 'batchsize' here; did you mean 'batch_size'?",
        ),
        (("nmae",), "x", "nmae: there is no field 'nmae' here; did you mean 'name'?"),
        (("name",), "My Pipeline", "name: this text does not have the right form"),
        (("baseline", "epochs"), "many", "baseline.epochs: input should be a valid integer"),
        (("baseline", "epochs"), 0, "baseline.epochs: input should be greater than 0 (found: 0)"),
        (("calibrate", "samples"), -3, "calibrate.samples: input should be greater than 0 (found: -3)"),
        (("examples", "kind"), "tfrecords", "examples: there is no 'tfrecords' here; did you mean 'tfrecord'?"),
        (("recipes", 1, "scheme"), "static_w8_a8", "recipes[1].scheme: there is no 'static_w8_a8' here; did you mean"),
        (
            ("recipes", 0, "scheme"),
            {"kind": "float16", "float_io": True},
            "recipes[0].scheme.float_io: there is no field 'float_io' here",
        ),
        (("recipes", 1, "name"), "float32", "recipes: the name 'float32' occurs more than once"),
        (("calibrate",), None, "recipes[1].scheme: a static scheme needs ranges of activations"),
        (("calibrate", "split"), "eval", "calibrate.split: this split is also the evaluation split"),
        (
            ("evaluate", "split"),
            "test",
            "evaluate.split: there is no such split (expected: one of train, eval; found: test)",
        ),
        (("evaluate", "metrics"), ["acuracy"], "'acuracy' is no short name of a metric"),
        (("gate", "metrics", 0, "name"), "auc", "gate.metrics[0].name: the gate bounds a metric that is not evaluated"),
        (("gate", "metrics", 0), {"name": "accuracy"}, "bounds nothing: give at_least"),
        (("gate", "metrics", 0, "at_most"), 0.5, "at_least (0.8) is above at_most (0.5): nothing can pass"),
        (("gate", "prefer"), "tiny", "gate.prefer: input should be 'smallest', 'fastest' or 'most_accurate'"),
        (("devices",), ["phone_cup"], "there is no device profile 'phone_cup'; did you mean 'phone_cpu'?"),
        (("devices",), [], "devices: tuple should have at least 1 item"),
        (("task",), "no colon", "task: this text does not have the right form"),
    ],
)
def test_bad_field_is_named_with_bound_value_and_remedy(
    small: SmallPipeline, place: tuple[str | int, ...], value: object, message: str
) -> None:
    target = small.spec
    for part in place[:-1]:
        target = target[part]  # type: ignore[index]
    target[place[-1]] = value  # type: ignore[index]
    said = errors_of(small)
    assert message in said
    assert "Remedy: " in said


def test_several_errors_are_told_at_once(small: SmallPipeline) -> None:
    small.spec["baseline"]["batchsize"] = 1
    small.spec["gate"]["prefer"] = "tiny"
    small.spec["calibrate"]["samples"] = 0
    said = errors_of(small)
    assert "3 errors in the pipeline file" in said
    assert said.count("\n  - ") == 3


def test_device_that_runs_no_recipe_is_named(small: SmallPipeline) -> None:
    small.spec["devices"] = ["cortex_m55"]
    small.spec["recipes"] = [{"name": "half", "scheme": "float16"}]
    assert "devices[0]: the device 'cortex_m55' can run none of the recipes" in errors_of(small)


def test_own_device_profile_is_read_beside_the_file(small: SmallPipeline) -> None:
    profile = {"name": "mine", "device_class": "mine", "description": "a board", "schemes": ["static_wi8_ai8"]}
    (small.folder / "mine.yaml").write_text(yaml.safe_dump(profile))
    small.spec["devices"] = ["mine.yaml"]
    assert load_pipeline(small.write()).devices[0].schemes == ("static_wi8_ai8",)
    (small.folder / "mine.yaml").write_text(yaml.safe_dump({**profile, "max_bytes": 3}))
    assert "there is no field 'max_bytes' here; did you mean 'max_file_bytes'?" in errors_of(small)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not YAML"), ("- 1", "is no mapping of fields (found: list)"), ("", "is no mapping of fields")],
)
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PipelineFileError, match=message.replace("(", r"\(").replace(")", r"\)")):
        load_pipeline(tmp_path / "p.yaml")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError, match="cannot be read: No such file or directory"):
        load_pipeline(tmp_path / "p.yaml")


def test_schema_describes_every_field_of_the_root() -> None:
    schema = pipeline_schema()
    assert set(schema["properties"]) >= {"name", "task", "examples", "baseline", "recipes", "devices", "gate", "push"}
    assert schema["additionalProperties"] is False
    json.dumps(schema)


def test_loading_and_preflight_import_no_heavy_module(small: SmallPipeline) -> None:
    small.write()
    code = f"""
import sys
from pathlib import Path
from pipelines.load import load_pipeline
from pipelines.preflight import make_importable, preflight
make_importable(Path({str(small.file)!r}))
preflight(load_pipeline(Path({str(small.file)!r})))
heavy = [m for m in ("tensorflow", "tfx", "apache_beam", {small.spec["task"].partition(":")[0]!r}) if m in sys.modules]
print(heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
