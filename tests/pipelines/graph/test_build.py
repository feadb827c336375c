"""The nodes that a pipeline file is built of, and what is in their cache keys. Nothing runs here."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format, wrappers_pb2
from tfx.proto import example_gen_pb2, transform_pb2

from components.core.files import sha256_of
from components.core.version import code_version
from components.push.delivery import PushRequest
from components.push.several import publish
from components.spec.recipe import Recipe
from components.spec.registry import LocalRegistry
from pipelines.file.environment import environment
from pipelines.file.load import SHIPPED_DEVICES, load_pipeline
from pipelines.graph.build import build_pipeline
from pipelines.graph.steps import candidate_id, recipes_of_nodes, shown_id
from tests.components.push.places import MODEL, manifest_of
from tests.small_pipeline import SmallPipeline


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPipeline:
    monkeypatch.syspath_prepend(str(tmp_path))
    return SmallPipeline(tmp_path)


def nodes(small: SmallPipeline, **options: str) -> dict[str, Any]:
    loaded = load_pipeline(small.write())
    place = environment(small.folder / "root", None)
    pipeline = build_pipeline(loaded, place, "1", retry="again {}".format, **options)
    return {node.id: node for node in pipeline.components}


def named(small: SmallPipeline, **options: Any) -> dict[str, Any]:
    """The nodes with the names of recipes instead of digests."""
    recipes = recipes_of_nodes(load_pipeline(small.write()).spec.recipes)
    return {shown_id(name, recipes): node for name, node in nodes(small, **options).items()}


def test_files_that_the_task_reads_are_in_the_cache_key_of_each_node_that_runs_it(small: SmallPipeline) -> None:
    before, after = named(small), named(small, task_files="0123456789abcdef")
    versions = {
        node: (one.exec_properties["task_version"], after[node].exec_properties["task_version"])
        for node, one in before.items()
        if "task_version" in one.exec_properties
    }
    assert {"calibrate", "convert__int8", "evaluate"} <= set(versions)
    versions["baseline"] = tuple(
        json.loads(built["baseline"].exec_properties["custom_config"])["task_version"] for built in (before, after)
    )
    assert all(new == f"{old} 0123456789abcdef" for old, new in versions.values())


@pytest.mark.parametrize("preprocessed", [False, True])
def test_what_the_pipeline_file_says_that_code_reads_is_in_the_cache_key_of_each_node_that_runs_it(
    small: SmallPipeline, monkeypatch: pytest.MonkeyPatch, preprocessed: bool
) -> None:
    words, folder = small.folder / "words.txt", small.folder / "lookup"
    words.write_text("a")
    folder.mkdir()
    (folder / "table.npz").write_text("b")
    if preprocessed:
        (small.folder / "words_of.py").write_text("def preprocess(inputs):\n    return inputs\n")
        small.spec["preprocess"] = "words_of:preprocess"
    plain = set(keys(small)[0])
    small.spec["reads"] = {"files": ["words.txt", "lookup"], "variables": ["EM_SCALE"]}
    monkeypatch.delenv("EM_SCALE", raising=False)
    seen = [keys(small)]
    words.write_text("c")
    seen.append(keys(small))
    (folder / "table.npz").write_text("d")
    seen.append(keys(small))
    monkeypatch.setenv("EM_SCALE", "")
    seen.append(keys(small))
    monkeypatch.setenv("EM_SCALE", "2")
    seen.append(keys(small))
    counts = {node: len({versions[node] for versions, _ in seen}) for node in plain}
    converted = {"convert__float32", "convert__int8"}
    predicted = {node for node in plain if node.startswith("predict__")}
    assert len(predicted) == 3
    read = {
        "baseline",
        "calibrate",
        *converted,
        *predicted,
        *("latency__float32", "latency__int8"),
        "evaluate",
        "explain__int8",
        "changes__int8",
        "transform" if preprocessed else "validate",
    }
    assert {node for node, count in counts.items() if count == 5} == read, counts
    assert set(counts.values()) <= {1, 5}, counts
    assert len({rest for _, rest in seen}) == 1


def keys(small: SmallPipeline) -> tuple[dict[str, str], str]:
    """Of the nodes that run user code, their parameters; and those of all others."""
    built = named(small)
    parameters = {name: json.dumps(node.exec_properties, sort_keys=True, default=str) for name, node in built.items()}
    versions = {name: text for name, text in parameters.items() if "task" in text or name == "transform"}
    return versions, json.dumps({name: text for name, text in parameters.items() if name not in versions})


def test_nothing_is_sampled_when_no_recipe_needs_calibration(small: SmallPipeline) -> None:
    assert {"calibrate", "audit"} <= set(nodes(small))
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}, {"name": "half", "scheme": "float16"}]
    assert not {"calibrate", "audit"} & set(nodes(small))


def test_candidates_are_explained_unless_they_are_float(small: SmallPipeline) -> None:
    small.spec["recipes"] += [
        {"name": "half", "scheme": "float16"},
        {"name": "pruned", "steps": [{"kind": "prune", "sparsity": 0.5, "epochs": 1}], "scheme": "static_wi8_ai8"},
    ]
    built = nodes(small)
    assert {name for name in built if name.startswith("explain__")} == {
        f"explain__{one}" for one in ("int8", "half", "pruned")
    }
    reads = {name: set(node.inputs) for name, node in built.items() if name.startswith("explain__")}
    # The float file of the baseline says nothing about a model that a step trained.
    assert "float_reference" in reads["explain__int8"] and "float_reference" not in reads["explain__pruned"]
    assert all("calibration" in one and "examples" not in one for one in reads.values())
    assert built["explain__pruned"].inputs["model"].producer_component_id.startswith("prune__")


def test_candidates_are_explained_with_the_evaluation_split_when_nothing_is_sampled(small: SmallPipeline) -> None:
    small.spec["recipes"] = [{"name": "half", "scheme": "float16"}]
    node = nodes(small)["explain__half"]
    assert "examples" in node.inputs and "calibration" not in node.inputs
    assert json.loads(node.exec_properties["spec"])["split"] == "eval"


def test_every_conversion_waits_for_the_audit(small: SmallPipeline) -> None:
    built = named(small)
    for name in ("convert__float32", "convert__int8"):
        assert built["audit"] in built[name].upstream_nodes


def test_conversions_are_tried_again_and_times_only_for_a_device_that_bounds_latency(small: SmallPipeline) -> None:
    built = named(small)
    assert built["convert__int8"].exec_properties["retry"] == f"again {built['convert__int8'].id}"
    assert built["latency__int8"].exec_properties["retry"] == ""
    profile = yaml.safe_load((SHIPPED_DEVICES / "phone_cpu.yaml").read_text())
    (small.folder / "quick.yaml").write_text(yaml.safe_dump({**profile, "max_latency_ratio": 0.9}))
    small.spec["devices"] = ["quick.yaml"]
    timed = named(small)["latency__int8"]
    assert timed.exec_properties["retry"] == f"again {timed.id}"


def test_only_conversions_for_a_device_that_pins_know_the_pins(small: SmallPipeline) -> None:
    assert "pins" not in json.loads(named(small)["convert__int8"].exec_properties["spec"])
    profile = yaml.safe_load((SHIPPED_DEVICES / "phone_cpu.yaml").read_text())
    pinned = {"pinned_inputs": [{"scale": 0.5847, "zero_point": 83}]}
    (small.folder / "board.yaml").write_text(yaml.safe_dump({**profile, **pinned}))
    small.spec["devices"] = ["board.yaml"]
    built = named(small)
    (found,) = json.loads(built["convert__int8"].exec_properties["spec"])["pins"]["inputs"]
    assert (found["dtype"], found["scale"], found["zero_point"]) == ("int8", 0.5847, 83)
    assert "pins" not in json.loads(built["convert__float32"].exec_properties["spec"])


@pytest.mark.parametrize(
    ("baseline", "calibrate", "analyzed"),
    [
        ({"kind": "train", "split": "fit", "epochs": 1}, {"split": "spare", "samples": 9}, "fit"),
        ({"kind": "pretrained", "path": "model.keras"}, {"split": "spare", "samples": 9}, "spare"),
        ({"kind": "pretrained", "path": "model.keras"}, None, "fit"),
    ],
    ids=["trained", "calibrated", "neither"],
)
def test_preprocessing_analyses_the_split_that_the_model_is_made_of(
    small: SmallPipeline, baseline: dict[str, object], calibrate: dict[str, object] | None, analyzed: str
) -> None:
    (small.folder / "model.keras").write_bytes(b"unread")
    (small.folder / "functions.py").write_text("def preprocessing_fn(inputs): return inputs\n")
    small.spec["preprocess"] = "functions:preprocessing_fn"
    small.spec["examples"]["splits"]["patterns"] = {"eval": "eval*", "fit": "train*", "spare": "train*"}
    small.spec["baseline"] = baseline
    small.spec["calibrate"] = calibrate
    if calibrate is None:
        small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    config = transform_pb2.SplitsConfig()
    json_format.Parse(nodes(small)["transform"].exec_properties["splits_config"], config)
    assert (list(config.analyze), list(config.transform)) == ([analyzed], ["eval", "fit", "spare"])


def test_changed_schema_file_is_another_parameter(small: SmallPipeline) -> None:
    schema = small.folder / "schema.pbtxt"
    schema.write_text('feature { name: "label" type: INT }')
    small.spec["examples"]["schema_file"] = "schema.pbtxt"
    before = nodes(small)["schema"].exec_properties
    assert before["sha256"] == sha256_of(schema)
    schema.write_text('feature { name: "label" type: FLOAT }')
    after = nodes(small)["schema"].exec_properties
    assert before["path"] == after["path"] and before["sha256"] != after["sha256"]


def test_parquet_reader_has_its_code_version_among_its_parameters(small: SmallPipeline) -> None:
    shutil.rmtree(small.folder / "data")
    small.spec["examples"]["kind"] = "parquet"
    config, version = example_gen_pb2.CustomConfig(), wrappers_pb2.StringValue()
    json_format.Parse(nodes(small)["examples"].exec_properties["custom_config"], config)
    assert config.custom_config.Unpack(version)
    assert json.loads(version.value)["code_version"] == code_version("components.ingest.component")


def test_bound_is_a_parameter_of_those_conversions_alone_that_hold_it(small: SmallPipeline) -> None:
    small.spec["recipes"].append({"name": "auto", "scheme": {"kind": "static_wi8_ai8", "keep_float": "auto"}})
    before = {name: node.exec_properties["spec"] for name, node in named(small).items() if name.startswith("convert__")}
    assert json.loads(before["convert__auto"])["bound"]["max_drop"] == 0.05
    small.spec["gate"]["metrics"][0]["max_drop_from_baseline"] = 0.01
    after = {name: node.exec_properties["spec"] for name, node in named(small).items() if name.startswith("convert__")}
    assert {name for name in after if after[name] != before[name]} == {"convert__auto"}


def test_recipes_that_ask_the_same_share_the_nodes_that_do_it(small: SmallPipeline) -> None:
    pruned = {"kind": "prune", "sparsity": 0.5, "epochs": 2}
    clustered, trained = {"kind": "cluster", "epochs": 1}, {"kind": "qat", "epochs": 1}
    small.spec["recipes"] = [
        {"name": "half", "steps": [pruned], "scheme": "float16"},
        {"name": "int8", "steps": [pruned, clustered, trained], "scheme": "static_wi8_ai8"},
        {
            "name": "outside",
            "steps": [pruned, clustered, trained],
            "scheme": {"kind": "static_wi8_ai8", "float_io": True},
        },
        {"name": "alone", "steps": [clustered, trained], "scheme": "static_wi8_ai8"},
        {"name": "pqat", "steps": [pruned, trained], "scheme": "static_wi8_ai8"},
    ]
    built, shared = nodes(small), recipes_of_nodes(load_pipeline(small.write()).spec.recipes)
    trainers = {name for name in built if name.partition("__")[0] in {"prune", "cluster", "qat"}}
    converted = {recipes[0]: built.get(name) for name, recipes in shared.items() if name.startswith("convert__")}
    shared = {name: recipes for name, recipes in shared.items() if name.startswith(("prune__", "cluster__", "qat__"))}
    assert trainers == set(shared) and all(
        re.fullmatch(r"(prune|cluster|qat)__[0-9a-f]{10}", name) for name in trainers
    )
    by_recipes = {(name.partition("__")[0], *recipes): name for name, recipes in shared.items()}
    invariants = {
        key: json.loads(built[name].exec_properties["spec"]).get("invariants") for key, name in by_recipes.items()
    }
    assert invariants == {
        ("prune", "half", "int8", "outside", "pqat"): None,
        ("cluster", "int8", "outside"): {"zeros": True, "num_clusters": None},
        ("qat", "int8", "outside"): {"zeros": True, "num_clusters": 16},
        ("cluster", "alone"): {"zeros": False, "num_clusters": None},
        ("qat", "alone"): {"zeros": False, "num_clusters": 16},
        ("qat", "pqat"): {"zeros": True, "num_clusters": None},
    }
    reads = {name: built[name].inputs["model"].producer_component_id for name in built if "model" in built[name].inputs}
    pruned = by_recipes["prune", "half", "int8", "outside", "pqat"]
    assert reads[by_recipes["qat", "pqat"]] == reads[by_recipes["cluster", "int8", "outside"]] == pruned
    assert reads[converted["outside"].id] == reads[converted["int8"].id] == by_recipes["qat", "int8", "outside"]


def test_recipe_that_is_removed_or_renamed_leaves_training_nodes_as_they_are(small: SmallPipeline) -> None:
    pruned, trained = {"kind": "prune", "sparsity": 0.5, "epochs": 2}, {"kind": "qat", "epochs": 1}
    first = {"name": "half", "steps": [pruned], "scheme": "float16"}
    second = {"name": "int8", "steps": [pruned, trained], "scheme": "static_wi8_ai8"}

    def training() -> dict[str, tuple[object, object]]:
        return {
            name: (node.exec_properties, node.inputs["model"].producer_component_id)
            for name, node in nodes(small).items()
            if name.startswith(("prune__", "qat__"))
        }

    small.spec["recipes"] = [first, second]
    before = training()
    assert len(before) == 2
    small.spec["recipes"] = [second]
    assert training() == before
    small.spec["recipes"] = [{**first, "name": "renamed"}, {**second, "name": "other"}]
    assert training() == before
    small.spec["recipes"] = [{**second, "steps": [{**pruned, "sparsity": 0.6}, trained]}]
    assert not set(training()) & set(before)


def test_recipe_that_is_added_removed_or_renamed_leaves_candidates_of_others_as_they_are(small: SmallPipeline) -> None:
    def made() -> dict[str, Any]:
        return {
            name: (node.exec_properties, {role: one.producer_component_id for role, one in node.inputs.items()})
            for name, node in nodes(small).items()
            if name.partition("__")[0] in {"convert", "predict", "latency"}
        }

    # Without float32, its file is a reference only.
    first, second = {"name": "half", "scheme": "float16"}, {"name": "int8", "scheme": "static_wi8_ai8"}
    small.spec["recipes"] = [first, second]
    before = made()
    assert len(before) == 3 + 3 + 2
    small.spec["recipes"] = [{**second, "name": "renamed"}, {**first, "name": "other"}]
    assert made() == before
    small.spec["recipes"].append({"name": "twin", "scheme": "float16"})
    assert made() == before
    small.spec["recipes"] = [second]
    assert all(before[name] == node for name, node in made().items())
    small.spec["recipes"] = [first, second, {"name": "whole", "scheme": "float32"}]
    whole = Recipe.model_validate({"name": "x", "scheme": "float32"})
    assert set(made()) - set(before) == {candidate_id(kind, whole) for kind in ("predict", "latency")}


def test_device_is_checked_by_its_tools_again_only_when_these_change(small: SmallPipeline) -> None:
    assert not [name for name in nodes(small) if name.startswith("device_check__")]
    profile = {"name": "board", "device_class": "board", "description": "any", "schemes": ["static_wi8_ai8"]}
    profile["evaluators"] = [{"kind": "tflm"}]

    def built(**changes: object) -> dict[str, Any]:
        (small.folder / "board.yaml").write_text(yaml.safe_dump({**profile, **changes}))
        small.spec["devices"] = ["phone_cpu", "board.yaml"]
        return nodes(small)

    before, bounded = built(), built(max_arena_bytes=5)
    assert [name for name in before if name.startswith("device_check__")] == ["device_check__board"]
    recipes = [each["name"] for each in small.spec["recipes"]]
    measured = {f"measure__board__{recipe}" for recipe in recipes}
    assert {name for name in before if name.startswith("measure__")} == measured
    assert all(before[name].exec_properties["retry"] == f"again {name}" for name in measured)
    assert "on_device" in before["gate__board"].inputs and "on_device" not in before["gate__phone_cpu"].inputs
    specs = [one["device_check__board"].exec_properties["spec"] for one in (before, bounded)]
    assert specs[0] == specs[1]
    others = built(evaluators=[{"kind": "tflm", "examples": 31}])
    assert others["device_check__board"].exec_properties["spec"] != specs[0]

    def measuring(found: dict[str, Any]) -> dict[str, Any]:
        return {name: (found[name].exec_properties, sorted(found[name].inputs)) for name in measured}

    assert measuring(before) == measuring(bounded) != measuring(others)
    small.spec["recipes"].append({"name": "added", "scheme": "float16"})
    assert measuring(built()) == measuring(before) and "measure__board__added" in built()
    # Vela runs no examples.
    only = {"kind": "vela", "accelerator": "ethos-u55-64", "system_config": "Ethos_U55_Deep_Embedded"}
    without = built(evaluators=[only])
    assert {*without["measure__board__added"].inputs} == {"candidate"}
    small.spec["evaluate"]["max_prediction_bytes"] = 12345
    bounded = {name: json.loads(built()[name].exec_properties["spec"])["max_bytes"] for name in measured}
    assert set(bounded.values()) == {12345}
    assert measuring(built(evaluators=[only])) == measuring(without)


def test_pushes_get_the_names_of_classes_and_the_text_of_the_card(small: SmallPipeline) -> None:
    def asked() -> list[dict[str, Any]]:
        return [
            json.loads(one.exec_properties["spec"]) for id_, one in nodes(small).items() if id_.startswith("push__")
        ]

    assert all("classes" not in one for one in asked())
    shutil.rmtree(small.folder / "data")
    small.spec["examples"].pop("num_classes")
    small.spec["examples"] |= {"kind": "parquet", "classes": ["boot", "shirt"]}
    small.spec["card"] = {"license": "apache-2.0"}
    found = asked()
    assert found
    assert all((one["classes"], one["card"]["license"]) == (["boot", "shirt"], "apache-2.0") for one in found)
    assert all(PushRequest.model_validate(one).classes == ("boot", "shirt") for one in found)


def test_champion_of_each_device_is_found_predicted_and_compared_unless_the_gate_declines(small: SmallPipeline) -> None:
    plain = nodes(small)
    assert not [name for name in plain if "champion" in name or "challenge" in name]
    assert "challenge" not in plain["gate__phone_cpu"].inputs
    small.spec["devices"] = ["phone_cpu", "cortex_m55"]
    small.spec["recipes"] = small.spec["recipes"][1:]
    del small.spec["gate"]["champion"]
    built = nodes(small)
    for device in small.spec["devices"]:
        found, predicted = built[f"champion__{device}"], built[f"predict__champion__{device}"]
        challenge = built[f"challenge__{device}"]
        assert not found.inputs
        # Another recipe must not repeat it.
        assert set(predicted.inputs) == {"examples", "model", "baseline"}
        there = built.get(f"measure_champion__{device}")
        assert (there is not None) == (device == "cortex_m55")
        if there is not None:
            assert set(there.inputs) == {"examples", "candidate", "baseline"}
            assert challenge.inputs["champion_measurement"].producer_component_id == there.id
            assert challenge.inputs["measured_int8"].producer_component_id == f"measure__{device}__int8"
        assert predicted.inputs["model"].producer_component_id == found.id
        assert challenge.inputs["of_champion"].producer_component_id == predicted.id
        assert built[f"gate__{device}"].inputs["challenge"].producer_component_id == challenge.id
        # The same metrics, slices, and code of the user as in the evaluation.
        asked = json.loads(challenge.exec_properties["spec"])
        assert asked["evaluation"] == json.loads(built["evaluate"].exec_properties["spec"])
        assert asked["recipes"] == ["int8"] and "predictions_int8" in challenge.inputs
        for one in (predicted, challenge):
            assert one.exec_properties["task_version"] == built["evaluate"].exec_properties["task_version"]
        assert json.loads(found.exec_properties["spec"])["device"]["name"] == device
    directions = json.loads(built["gate__phone_cpu"].exec_properties["spec"])["directions"]
    assert directions == {"accuracy": False}


def test_champion_comes_from_the_cache_only_while_the_channels_name_the_same_release(small: SmallPipeline) -> None:
    del small.spec["gate"]["champion"]

    def key() -> dict[str, str]:
        found = nodes(small)["champion__phone_cpu"].exec_properties
        return {name: found[name] for name in ("seen", "attempt", "retry")}

    registry = LocalRegistry(root=str(small.folder / "registry"))
    before = key()
    assert before["seen"] and (before["attempt"], before["retry"]) == ("", "again champion__phone_cpu")
    for model in (MODEL, MODEL[::-1]):
        manifest = manifest_of(model).model_copy(update={"device_class": "phone_cpu", "name": "small"})
        ((release,), _) = publish([registry], "phone_cpu", "small", model, manifest)
        assert key() not in [before]
        assert key() == key()
        before = key()
    # Nothing is known of a damaged release, so the node runs in every run.
    release.model_path.write_bytes(b"damaged")
    assert key() == {"seen": "", "attempt": "1", "retry": "again champion__phone_cpu"}
