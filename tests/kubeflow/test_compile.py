import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from typer.testing import CliRunner

from components.core.errors import SpecError
from edgemill.main import app
from kubeflow.compile import Compiled, compile_file
from kubeflow.spec import task_names
from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError, load_pipeline
from pipelines.file.user_folders import make_importable
from pipelines.graph.steps import recipes_of_nodes
from tests.kubeflow.environments import SECRET, cluster, write_environment
from tests.small_pipeline import SmallPipeline

SHIPPED = {str(path): path for path in sorted(Path("pipelines").glob("*/*.yaml")) if path.parent.name != "devices"}
EXAMPLE = Path("kubeflow/environment.example.yaml")


@pytest.fixture(scope="module")
def shipped() -> dict[str, Compiled]:
    return {name: compile_file(path, EXAMPLE) for name, path in SHIPPED.items()}


def small(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[SmallPipeline, Path]:
    pipeline = SmallPipeline(folder / "project")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    make_importable(pipeline.write())
    return pipeline, write_environment(folder, cluster(**{"folders": {"project": "/project"}, **changes}))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pipeline_holds_to_the_protocol_buffers(shipped: dict[str, Compiled], name: str) -> None:
    documents = list(yaml.safe_load_all(shipped[name].to_yaml()))
    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert (spec.schema_version, spec.pipeline_info.name) == ("2.1.0", shipped[name].name)
    json_format.ParseDict(documents[0]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pipeline_refers_to_nothing_that_is_missing(shipped: dict[str, Compiled], name: str) -> None:
    spec = shipped[name].pipeline
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    executors = spec["deploymentSpec"]["executors"]
    assert set(executors) == {component["executorLabel"] for component in components.values()}
    for task_name, task in tasks.items():
        component = components[task["componentRef"]["name"]]
        declared = component.get("inputDefinitions", {})
        given = task.get("inputs", {})
        for kind in ("artifacts", "parameters"):
            assert set(given.get(kind, {})) == set(declared.get(kind, {})), task_name
        for key, source in given.get("artifacts", {}).items():
            producer = source["taskOutputArtifact"]
            made = components[tasks[producer["producerTask"]]["componentRef"]["name"]]["outputDefinitions"]["artifacts"]
            assert made[producer["outputArtifactKey"]]["artifactType"] == declared["artifacts"][key]["artifactType"]
            assert producer["producerTask"] in task["dependentTasks"]
        # What TFX 2.0 wrote for constants, the open-source backend does not read.
        assert "constantValue" not in json.dumps(task)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pipeline_is_containers_only_with_our_entrypoint(shipped: dict[str, Compiled], name: str) -> None:
    for label, executor in shipped[name].pipeline["deploymentSpec"]["executors"].items():
        assert set(executor) == {"container"}, label  # no resolver, no importer
        container = executor["container"]
        assert container["command"] == ["python", "-m", "kubeflow.entrypoint"]
        assert container["image"] == "registry.example.org/edgemill:0.2.0"
        assert "lifecycle" not in container


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pipeline_names_no_path_of_this_machine(shipped: dict[str, Compiled], name: str) -> None:
    text = shipped[name].to_yaml()
    assert str(Path.cwd()) not in text
    examples = shipped[name].pipeline["root"]["dag"]["tasks"]["examples"]["inputs"]["parameters"]
    place = examples["input_base"]["runtimeValue"]["constant"]
    # The image holds it; the hard example has the clothing's data.
    folder = Path(name).parent.name.replace("hard_channels", "fashion_mnist")
    assert place == f"/opt/edgemill/pipelines/{folder}/data"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pipeline_is_understood_by_the_client(shipped: dict[str, Compiled], name: str) -> None:
    from kfp.components import load_component_from_text

    loaded = load_component_from_text(shipped[name].to_yaml())
    assert loaded.pipeline_spec.pipeline_info.name == shipped[name].name


def test_nothing_that_changes_outside_is_served_from_cache(shipped: dict[str, Compiled]) -> None:
    tasks = shipped["pipelines/fashion_mnist/pipeline.yaml"].pipeline["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if not task["cachingOptions"].get("enableCache")}
    assert uncached == {
        "report",
        *(f"{node}-{one}" for node in ("champion", "push") for one in ("phone-cpu", "cortex-m55")),
    }


def test_report_gets_all_inputs_of_a_local_report(shipped: dict[str, Compiled]) -> None:
    tasks = shipped["pipelines/fashion_mnist/pipeline.yaml"].pipeline["root"]["dag"]["tasks"]
    given = set(tasks["report"]["inputs"]["artifacts"])
    assert given >= {"evaluation", "sample"}
    for prefix, inputs in (("gate", "blessing"), ("push", "pushed"), ("device-check", "on_device")):
        devices = {name.removeprefix(f"{prefix}-") for name in tasks if name.startswith(f"{prefix}-")}
        reported = {
            name.removeprefix(f"{inputs}_").replace("_", "-") for name in given if name.startswith(f"{inputs}_")
        }
        assert reported == devices != set(), prefix
    trainings = {name for name in tasks if name.startswith(("qat-", "prune-", "cluster-"))}
    recipes = recipes_of_nodes(load_pipeline(Path("pipelines/fashion_mnist/pipeline.yaml")).spec.recipes)
    recipes = {node: names for node, names in recipes.items() if node.startswith(("prune__", "cluster__", "qat__"))}
    assert {f"trained_{node}" for node in recipes} == {name for name in given if name.startswith("trained_")}
    # A task carries the name of the first recipe that its node works for, in place of the node's digest.
    assert set(task_names(recipes, recipes).values()) == trainings


def test_every_command_line_writes_the_same_bytes_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [{"secret": "s3", "variables": {"key": "AWS_SECRET_ACCESS_KEY"}}]
    pipeline, environment = small(tmp_path, monkeypatch, secrets=secrets)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("EDGEMILL_METADATA", f"mysql://me:{SECRET}@db/x")
    monkeypatch.setenv("EDGEMILL_KUBEFLOW_TOKEN", SECRET)
    written = []
    for seed in ("1", None):
        output = tmp_path / f"out-{seed}.yaml"
        arguments = ["compile", str(pipeline.file), "-o", str(output), "--environment", str(environment)]
        if seed is None:
            result = CliRunner().invoke(app, arguments)
            assert (result.exit_code, result.output.strip()) == (
                0,
                f"{output}: small, 20 nodes, for Kubeflow Pipelines (schema 2.1)",
            )
        else:
            child = [sys.executable, "-m", "edgemill", *arguments]
            subprocess.run(child, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        written.append(output.read_text())
    assert written[0] == written[1]
    assert SECRET not in written[0]
    assert "secretKey: key" in written[0]


def test_a_project_reaches_the_image_by_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, environment = small(tmp_path, monkeypatch)
    compiled = compile_file(pipeline.file, environment)
    text = compiled.to_yaml()
    assert str(tmp_path) not in text
    executors = compiled.pipeline["deploymentSpec"]["executors"]
    assert executors["exec-baseline"]["container"]["env"] == [{"name": "PYTHONPATH", "value": "/opt/edgemill:/project"}]
    push = compiled.pipeline["root"]["dag"]["tasks"]["push-phone-cpu"]["inputs"]["parameters"]["spec"]
    assert json.loads(push["runtimeValue"]["constant"])["registries"][0]["root"] == "/registry"


def test_registry_in_a_store_needs_no_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, environment = small(tmp_path, monkeypatch, registry=None, volumes=[])
    with pytest.raises(SpecError, match=r"kubeflow\.registry: the containers have no folder .*kind: s3"):
        compile_file(pipeline.file, environment)
    stores = [
        {"kind": "gcs", "root": "gs://releases/mill", "channel": "beta"},
        {"kind": "oci", "root": "oci://registry.example.org/mill", "channel": "beta"},
        {"kind": "s3", "root": "s3://releases/mill", "channel": "beta"},
    ]
    pipeline.spec["gate"]["champion"] = "report"
    for push in (*stores, stores):
        pipeline.spec["push"] = push
        compiled = compile_file(pipeline.write(), environment)
        tasks = compiled.pipeline["root"]["dag"]["tasks"]
        for task in ("push-phone-cpu", "champion-phone-cpu"):
            asked = tasks[task]["inputs"]["parameters"]["spec"]["runtimeValue"]["constant"]
            assert json.loads(asked)["registries"] == (push if isinstance(push, list) else [push])
        assert compiled.platform is None
    pipeline.spec["push"] = stores[-1]
    pipeline.spec["push"] = [{"root": "registry"}, pipeline.spec["push"]]
    compiled = compile_file(pipeline.write(), write_environment(tmp_path, cluster(folders={"project": "/project"})))
    push = compiled.pipeline["root"]["dag"]["tasks"]["push-phone-cpu"]["inputs"]["parameters"]["spec"]
    assert [one["root"] for one in json.loads(push["runtimeValue"]["constant"])["registries"]] == [
        *("/registry", "s3://releases/mill"),
    ]
    pipeline.spec["push"] = [{"root": "registry"}, {"root": "other"}]
    with pytest.raises(SpecError, match=r"push: the containers have only one folder for releases .*at most one folder"):
        compile_file(pipeline.write(), tmp_path / "environment.yaml")


def test_champion_is_looked_up_in_the_registry_by_a_container_of_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, environment = small(tmp_path, monkeypatch)
    pipeline.spec["gate"]["champion"] = "require"
    # The registry of the cluster isn't that of this machine, where a damaged champion would stop a local run.
    broken = pipeline.folder / "registry" / "phone_cpu" / "small"
    broken.mkdir(parents=True)
    (broken / "stable.json").write_text("damaged")
    with pytest.raises(PipelineFileError, match="the champion is unknown"):
        preflight(pipeline.write())
    compiled = compile_file(pipeline.write(), environment)
    tasks = compiled.pipeline["root"]["dag"]["tasks"]
    found = tasks["champion-phone-cpu"]
    asked = json.loads(found["inputs"]["parameters"]["spec"]["runtimeValue"]["constant"])
    assert asked["registries"][0]["root"] == "/registry"
    assert "enableCache" not in found["cachingOptions"]
    assert tasks["gate-phone-cpu"]["inputs"]["artifacts"]["challenge"]["taskOutputArtifact"]["producerTask"] == (
        "challenge-phone-cpu"
    )
    assert {"champion-phone-cpu", "predict-champion-phone-cpu"} <= set(tasks["challenge-phone-cpu"]["dependentTasks"])
    assert compiled.platform is not None
    pods = compiled.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    mounted = {name: [one["mountPath"] for one in pod.get("pvcMount", ())] for name, pod in pods.items()}
    assert mounted["exec-champion-phone-cpu"] == mounted["exec-push-phone-cpu"] == ["/registry"]
    assert "exec-gate-phone-cpu" not in mounted


def test_changed_examples_change_the_command_line_that_the_cache_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, environment = small(tmp_path, monkeypatch)

    def arguments() -> list[str]:
        executors = compile_file(pipeline.file, environment).pipeline["deploymentSpec"]["executors"]
        return list(executors["exec-examples"]["container"]["args"])

    before = arguments()
    pipeline.write_split("train", 240, seed=9)
    after = arguments()
    assert before[0] == after[0] == "--examples_sha256"
    assert before[1] != after[1]
    assert before[2:] == after[2:]


def test_examples_elsewhere_are_never_cached_and_need_no_data_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, environment = small(tmp_path, monkeypatch, examples="gs://bucket/data")
    for file in (pipeline.folder / "data").iterdir():
        file.unlink()
    task = compile_file(pipeline.file, environment).pipeline["root"]["dag"]["tasks"]["examples"]
    assert task["inputs"]["parameters"]["input_base"] == {"runtimeValue": {"constant": "gs://bucket/data"}}
    assert task["cachingOptions"] == {}


def test_what_the_image_lacks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, environment = small(tmp_path, monkeypatch, folders={"project/data": "/data"})
    with pytest.raises(SpecError, match=r"task: the image does not have this path .*small_task_"):
        compile_file(pipeline.file, environment)
    environment = write_environment(tmp_path, cluster())
    with pytest.raises(SpecError, match=r"examples.path: the image does not have this path"):
        compile_file(pipeline.file, environment)


def test_impossible_recipes_are_skipped_on_request_and_the_report_gets_their_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, environment = small(tmp_path, monkeypatch)
    pipeline.spec["recipes"].append({"name": "dynamic", "scheme": "dynamic_wi8_afp32"})
    spec = compile_file(pipeline.write(), environment, skip_impossible=True).pipeline
    tasks = spec["root"]["dag"]["tasks"]
    assert {name for name in tasks if name.startswith("convert-")} == {"convert-float32", "convert-int8"}
    request = json.loads(tasks["report"]["inputs"]["parameters"]["spec"]["runtimeValue"]["constant"])
    (skipped,) = request["skipped"]
    assert (skipped["name"], skipped["place"]) == ("dynamic", 2)
    assert "no weight is large enough for dynamic range" in skipped["reasons"][0]


def test_two_recipes_that_kubeflow_cannot_tell_apart_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, environment = small(tmp_path, monkeypatch)
    pipeline.spec["recipes"] = [{"name": "a_b", "scheme": "float32"}, {"name": "a__b", "scheme": "float16"}]
    pipeline.write()
    with pytest.raises(SpecError, match="would have the same name on Kubeflow"):
        compile_file(pipeline.file, environment)


@pytest.mark.parametrize("name", ["Small", "small_1", "-small", "small-", "s" * 129, "small.v1"])
def test_names_that_kubeflow_refuses_are_reported_at_validate(tmp_path: Path, name: str) -> None:
    pipeline = SmallPipeline(tmp_path)
    pipeline.spec["name"] = name
    result = CliRunner().invoke(app, ["validate", str(pipeline.write())])
    assert (result.exit_code, "name: " in result.output) == (2, True)


def test_command_line_errors_have_the_status_of_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = SmallPipeline(tmp_path / "p").write()
    result = CliRunner().invoke(app, ["compile", str(pipeline), "-o", "x.yaml"])
    assert (result.exit_code, "environment.yaml" in result.output) == (2, True)
