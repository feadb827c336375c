"""Compiled pipelines under an emulation of the launcher's contract: no cluster, no containers."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from typer.testing import CliRunner

from components.core.files import sha256_of
from components.object_store.oci import transport
from components.push.signed import open_signed
from components.trust import oci_store
from components.trust.keys import VARIABLE
from edgemill.main import app
from kubeflow import node
from kubeflow.compile import compile_file, write_compiled
from kubeflow.contract import title_of
from pipelines.file.user_folders import make_importable
from tests.artifacts import read_manifest
from tests.components.push.places import store_of
from tests.kubeflow.environments import cluster, write_environment
from tests.kubeflow.launcher import Launched, Launcher, LaunchError, as_child
from tests.object_store import BUCKET, s3_server
from tests.oci_server import PROGRAM
from tests.small_pipeline import SmallPipeline

Secrets = Mapping[str, Mapping[str, bytes]]


def in_this_process(command: list[str], env: Mapping[str, str]) -> int:
    """The container's command without its own process: imports are paid once. Its folders are fresh."""
    assert command[:3] == ["python", "-m", "kubeflow.entrypoint"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        return node.main(command[3:])


class Whole:
    """The small pipeline, compiled and run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = pipeline = SmallPipeline(folder / "project")
        del pipeline.spec["gate"]["champion"]
        make_importable(pipeline.write())
        registry = str(folder / "registry")
        section = cluster(
            folders={"project": str(folder / "project")},
            registry=registry,
            volumes=[{"claim": "registry", "path": registry}],
        )
        write_compiled(compile_file(pipeline.file, write_environment(folder, section)), folder / "small.yaml")
        self.launcher = Launcher(folder / "small.yaml", folder / "store", folder / "scratch", in_this_process)
        self.launched: Launched = self.launcher.run_all()

    def again(self, name: str, push: list[dict[str, Any]], held: Secrets, **section: Any) -> Launcher:
        """The same pipeline with other registries. What was done before is there, as from Kubeflow's cache."""
        spec = self.pipeline.spec
        changed = {**spec, "push": push}
        make_importable(file := self.pipeline.file.with_name(f"{name}.yaml"))
        file.write_text(yaml.safe_dump(changed))
        (environments := self.folder / name).mkdir()
        cluster_of_it = cluster(folders={"../project": str(self.pipeline.folder)}, registry=None, volumes=[], **section)
        compiled = environments / "compiled.yaml"
        write_compiled(compile_file(file, write_environment(environments, cluster_of_it)), compiled)
        store = self.folder / "store"
        launcher = Launcher(compiled, store, environments / "scratch", in_this_process, held)
        launcher.launched = copy.deepcopy(self.launched)
        return launcher

    def path(self, task: str, output: str) -> Path:
        return self.launcher.stored(self.launched.artifacts[task][output].uri)

    def metadata(self, task: str, output: str) -> dict[str, Any]:
        return self.launched.artifacts[task][output].metadata


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    path, environment = [*sys.path], os.environ.get("PYTHONPATH")
    try:
        return Whole(tmp_path_factory.mktemp("whole"))
    finally:
        sys.path[:] = path
        if environment is not None:
            os.environ["PYTHONPATH"] = environment


@pytest.mark.e2e
def test_whole_pipeline_delivers_what_it_blessed(whole: Whole) -> None:
    blessed = whole.metadata("gate-phone-cpu", "blessing")
    assert (blessed["blessed"], blessed["verdict"]) == (1.0, "pass")
    chosen = whole.path("gate-phone-cpu", "chosen") / "Format-Serving/tflite"
    (release,) = whole.folder.glob("registry/phone_cpu/small/*/model.tflite")
    assert release.read_bytes() == chosen.read_bytes()
    assert whole.metadata("push-phone-cpu", "pushed")["model_sha256"] == sha256_of(release)


@pytest.mark.e2e
def test_everything_lies_in_the_object_store_and_nothing_in_the_containers(whole: Whole) -> None:
    assert list((whole.folder / "scratch").iterdir()) == []
    # What may be missing: a log that the driver asks of everybody, metrics without a file, TensorBoard's logs that the
    # task writes none of.
    missing = {said.partition(":")[0] for said in whole.launched.warnings if "executor-logs" not in said}
    assert missing == {"report.metrics_int8", "report.metrics_float32", "baseline.model_run"}
    for outputs in whole.launched.artifacts.values():
        for artifact in outputs.values():
            assert artifact.uri.startswith("minio://mlpipeline/v2/artifacts/small/run-1/")
            assert str(whole.folder / "scratch") not in json.dumps(artifact.metadata)


@pytest.mark.e2e
def test_artifacts_are_those_of_a_local_run(whole: Whole) -> None:
    assert read_manifest(whole.path("convert-int8", "candidate")).sha256 == sha256_of(
        whole.path("convert-int8", "candidate") / "Format-Serving/tflite"
    )
    assert read_manifest(whole.path("calibrate", "sample")).role == "calibration"
    assert sorted(path.name for path in whole.path("calibrate", "sample").rglob("*") if path.is_dir()) == [
        "Split-calibration"
    ]
    assert {path.name for path in whole.path("examples", "examples").iterdir()} == {"Split-train", "Split-eval"}


@pytest.mark.e2e
def test_driver_of_example_gen_ran(whole: Whole) -> None:
    metadata = whole.metadata("examples", "examples")
    assert metadata["custom:span"] == 0.0
    assert metadata["input_fingerprint"].startswith("split:train,num_files:1,total_bytes:")
    assert metadata["split_names"] == '["train", "eval"]'


@pytest.mark.e2e
def test_containers_were_handed_artifacts_without_types(whole: Whole) -> None:
    (artifact,) = whole.launched.handed["convert-int8"]["inputs"]["artifacts"]["model"]["artifacts"]
    assert artifact["type"] == {"instanceSchema": ""}
    assert artifact["uri"].startswith("minio://")


@pytest.mark.e2e
def test_champion_of_the_next_run_is_what_this_one_released(whole: Whole) -> None:
    assert whole.metadata("champion-phone-cpu", "champion")["state"] == "none"
    decision = json.loads((whole.path("gate-phone-cpu", "blessing") / "decision.json").read_text())
    assert (decision["champion"]["state"], decision["champion"]["mode"]) == ("none", "report")
    for task in ("champion-phone-cpu", "predict-champion-phone-cpu", "challenge-phone-cpu"):
        whole.launcher.run(task)
    pushed, found = whole.metadata("push-phone-cpu", "pushed"), whole.metadata("champion-phone-cpu", "champion")
    released = ("found", pushed["model_sha256"], pushed["release_path"])
    assert (found["state"], found["sha256"], found["address"]) == released
    challenge = json.loads((whole.path("challenge-phone-cpu", "challenge") / "challenge.json").read_text())
    assert challenge["champion"]["sha256"] == pushed["model_sha256"]
    compared = {one["name"]: (one["same"], bool(one["slices"])) for one in challenge["challengers"]}
    assert compared == {"float32": (False, True), "int8": (True, False)}


@pytest.mark.e2e
def test_registry_that_is_away_stages_the_release_and_the_same_node_finishes_it(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, unmounted = whole.folder / "registry", whole.folder / "unmounted"
    registry.rename(unmounted)
    registry.write_text("the mount point")
    for task in ("push-phone-cpu", "report"):
        whole.launcher.run(task)
    pushed = whole.metadata("push-phone-cpu", "pushed")
    assert (pushed["pushed"], pushed["staged"]) == (0.0, 1.0)
    said = whole.path("report", "verdict").read_text()
    assert "# small: staged" in said
    assert "because a registry was unreachable" in said
    assert "To finish the push, clone this run: finished nodes come from the cache" in said
    assert "edgemill push" not in said
    registry.unlink()
    unmounted.rename(registry)
    # Signed in the meantime; the container gets the keys by an environment variable and a folder.
    done = CliRunner().invoke(app, ["registry", "init", str(registry), "--keys", str(tmp_path / "keys")])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv(VARIABLE, str(tmp_path / "keys"))
    for task in ("push-phone-cpu", "report"):
        whole.launcher.run(task)
    pushed = whole.metadata("push-phone-cpu", "pushed")
    assert (pushed["pushed"], pushed["staged"]) == (1.0, 0.0)
    signed = open_signed(str(registry))
    assert signed is not None
    (stage,) = signed.channel("phone_cpu", "small", "stable").stages
    assert stage.release.sha256 == pushed["model_sha256"]
    assert "# small: pushed" in whole.path("report", "verdict").read_text()


# What a container of the cluster doesn't have unless a secret or `env` says so.
OF_THIS_MACHINE = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"),
    *("STORAGE_EMULATOR_HOST", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", VARIABLE),
)
OF_CHANNEL = ("keys.json", "root.json", "snapshot.pem", "timestamp.pem", "phone_cpu.stable.pem")


class Registries:
    """Signed registries in an S3 store, in Google Cloud Storage, and of OCI, and a cluster that can reach them.

    Attributes:
        stores, places: Kind -> server and registry.
        launcher: The pipeline that pushes to all of them.
    """

    def __init__(self, whole: Whole, folder: Path, stack: ExitStack) -> None:
        stack.enter_context(mock.patch.multiple(oci_store, WRITE_SECONDS=0.2, WAIT_SECONDS=0.3, _PAUSE_SECONDS=0.05))
        stack.enter_context(mock.patch.object(transport, "_FIRST_PAUSE_SECONDS", 0.01))
        self.stores = {kind: stack.enter_context(store_of(kind)) for kind in ("s3", "gcs", "oci")}
        self.places = {kind: store.place(folder) for kind, store in self.stores.items()}
        for kind, place in self.places.items():
            for words in (("init", place.root, "--keys", str(folder / kind)), ("delegate", place.root, "phone_cpu")):
                with mock.patch.dict(os.environ, {VARIABLE: str(folder / kind)}):
                    done = CliRunner().invoke(app, ["registry", *words])
                assert done.exit_code == 0, done.output
        self.secrets = {
            f"{kind}-keys": {name: (folder / kind / name).read_bytes() for name in OF_CHANNEL} for kind in self.places
        }
        self.secrets["aws"] = {"credentials": b"[default]\naws_access_key_id = a\naws_secret_access_key = b\n"}
        env = {
            "AWS_SHARED_CREDENTIALS_FILE": "/etc/aws/credentials",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.stores["s3"].gateway.url,  # type: ignore[union-attr]
            "STORAGE_EMULATOR_HOST": self.stores["gcs"].gateway.url,  # type: ignore[union-attr]
        }
        # One key by an environment variable, and away from the folder.
        pem = self.secrets["oci-keys"].pop("snapshot.pem")
        keys = self.secrets["oci-keys"]["keys.json"]
        self.secrets["oci-keys"] = {
            **self.secrets["oci-keys"], "keys.json": keys.replace(b"file:snapshot.pem", b"env:SNAPSHOT_KEY"),
        }  # fmt: skip
        self.secrets["snapshot"] = {"pem": pem}
        self._folder, self._here = folder, dict(os.environ)
        stack.enter_context(mock.patch.dict(os.environ))
        for name in OF_THIS_MACHINE:
            os.environ.pop(name, None)
        self.launcher = whole.again(
            "registries",
            [{"kind": kind, "root": place.root} for kind, place in self.places.items()],
            self.secrets,
            keys=[f"{kind}-keys" for kind in self.places],
            secret_files=[{"secret": "aws", "path": "/etc/aws", "nodes": ["push__*", "champion__*"]}],
            secrets=[{"secret": "snapshot", "variables": {"pem": "SNAPSHOT_KEY"}, "nodes": ["push__*"]}],
            env=env,
        )

    def metadata(self, task: str, output: str) -> dict[str, Any]:
        return self.launcher.launched.artifacts[task][output].metadata

    @property
    def verdict(self) -> str:
        return self.launcher.stored(self.launcher.launched.artifacts["report"]["verdict"].uri).read_text()

    def released(self, kind: str) -> list[str]:
        """The digests of the models that are signed for the channel."""
        with mock.patch.dict(os.environ, {**self._here, VARIABLE: str(self._folder / kind)}):
            registry = open_signed(self.places[kind].root)
            assert registry is not None
            return [one.release.sha256 for one in registry.channel("phone_cpu", "small", "stable").stages]

    def pointed(self, kind: str) -> str:
        """The digest of the model that the plain pointer of the channel names."""
        with mock.patch.dict(os.environ, self._here):
            found = self.places[kind].open().current("phone_cpu", "small")
            assert found is not None
            return found.manifest.sha256


@pytest.fixture(scope="module")
def registries(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registries]:
    if PROGRAM is None:
        pytest.skip("Debian's package docker-registry is not installed")
    with ExitStack() as stack:
        yield Registries(whole, tmp_path_factory.mktemp("registries"), stack)


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["s3", "gcs", "oci"])
def test_registry_of_several_that_is_away_is_named_and_no_channel_changes(registries: Registries, kind: str) -> None:
    gateway = registries.stores[kind].gateway
    assert gateway is not None
    before = {one: registries.released(one) for one in registries.places}
    gateway.fault = lambda number, line: (403, "<Error><Code>AccessDenied</Code></Error>")
    for task in ("push-phone-cpu", "report"):
        registries.launcher.run(task)
    gateway.reset()
    pushed = registries.metadata("push-phone-cpu", "pushed")
    assert (pushed["pushed"], pushed["staged"]) == (0.0, 1.0)
    said = " ".join(registries.verdict.split())
    assert "# small: staged" in said
    for one, place in registries.places.items():
        assert f"{place.root} (stable) {'failed' if one == kind else 'has the release'}" in said
    assert {one: registries.released(one) for one in registries.places} == before
    assert "To finish the push, clone this run" in said


@pytest.mark.e2e
def test_push_and_champion_reach_signed_registries_in_every_kind_of_store_without_a_volume(
    registries: Registries,
) -> None:
    launcher = registries.launcher
    launcher.run("champion-phone-cpu")
    assert registries.metadata("champion-phone-cpu", "champion")["state"] == "none"
    # The same attempt finishes what was staged above.
    for task in ("push-phone-cpu", "report", "champion-phone-cpu"):
        launcher.run(task)
    pushed = registries.metadata("push-phone-cpu", "pushed")
    assert (pushed["pushed"], pushed["staged"]) == (1.0, 0.0)
    addresses = [f"{place.root}/phone_cpu/small/{pushed['version']}" for place in registries.places.values()]
    assert [pushed["release_path"], *(one["path"] for one in json.loads(pushed["other_releases"]))] == addresses
    assert [registries.released(kind) for kind in registries.places] == [[pushed["model_sha256"]]] * 3
    assert [registries.pointed(kind) for kind in registries.places] == [pushed["model_sha256"]] * 3
    found = registries.metadata("champion-phone-cpu", "champion")
    assert (found["state"], found["sha256"], found["address"]) == ("found", pushed["model_sha256"], addresses[0])
    assert "# small: pushed" in registries.verdict
    # The keys and credentials are where they are needed, and there is no volume anywhere.
    assert not [label for label, pod in launcher.pods.items() if "pvcMount" in pod]
    assert sorted(launcher.pods) == ["exec-champion-phone-cpu", "exec-push-phone-cpu"]
    assert "secretAsEnv" not in launcher.pods["exec-champion-phone-cpu"]


@pytest.mark.e2e
def test_pages_get_metrics_report_and_verdict(whole: Whole) -> None:
    outputs = whole.launcher.spec["components"]["comp-report"]["outputDefinitions"]["artifacts"]
    assert {name: title_of(output["artifactType"]) for name, output in outputs.items()} == {
        "report": "system.HTML",
        "verdict": "system.Markdown",
        "metrics_float32": "system.Metrics",
        "metrics_int8": "system.Metrics",
    }
    report = json.loads((whole.path("evaluate", "evaluation") / "report.json").read_bytes())
    int8 = next(one for one in report["candidates"] if one["recipe"]["name"] == "int8")
    overall = next(one for one in int8["slices"] if one["slice"] == "overall")
    metrics = whole.metadata("report", "metrics_int8")
    assert metrics["accuracy"] == overall["metrics"]["accuracy"]["value"]
    assert metrics["file_bytes"] == int8["outcome"]["inspection"]["file_bytes"]
    assert all(isinstance(value, float) for value in metrics.values())
    page = whole.path("report", "report").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "run-1" in page
    assert "# small: pushed" in whole.path("report", "verdict").read_text()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("task", "output", "reader", "kind"),
    [
        ("examples", "examples", "statistics", "Examples"),
        # Recipes that differ only in their names share a candidate, so it has the digest of its node.
        ("convert-int8", "candidate", "evaluate", "candidate '[0-9a-f]{10}'"),
        ("gate-phone-cpu", "blessing", "push-phone-cpu", "decision"),
        ("champion-phone-cpu", "champion", "challenge-phone-cpu", "champion( 'int8')?"),
        ("challenge-phone-cpu", "challenge", "gate-phone-cpu", "challenge"),
    ],
)
def test_container_refuses_an_artifact_that_was_changed(
    whole: Whole, capfd: pytest.CaptureFixture[str], task: str, output: str, reader: str, kind: str
) -> None:
    path = max((one for one in whole.path(task, output).rglob("*") if one.name != "manifest.json"), key=_size)
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        with pytest.raises(LaunchError, match=f"{reader}: exit status 1"):
            whole.launcher.run(reader)
    finally:
        path.write_bytes(before)
    assert re.search(rf"this artifact \({kind}\) is not the one that was written", capfd.readouterr().err)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def one_task(folder: Path, code: str, outputs: dict[str, Any]) -> Launcher:
    """A pipeline of one container that runs Python code; `handed` is its ExecutorInput."""
    command = ["python", "-c", f"import json, sys\nhanded = json.loads(sys.argv[1])\n{code}"]
    spec = {
        "pipelineInfo": {"name": "one"},
        "defaultPipelineRoot": "s3://bucket/root",
        "components": {"comp-one": {"executorLabel": "exec-one", "outputDefinitions": outputs}},
        "deploymentSpec": {"executors": {"exec-one": {"container": {"command": command, "args": ["{{$}}"]}}}},
        "root": {"dag": {"tasks": {"one": {"componentRef": {"name": "comp-one"}}}}},
    }
    (folder / "one.yaml").write_text(yaml.safe_dump(spec))
    return Launcher(folder / "one.yaml", folder / "store", folder / "scratch", as_child)


PARAMETER = {"parameters": {"answer": {"parameterType": "STRING"}}}
ARTIFACT = {"artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}}}}
WRITE_OUTPUT = """
import pathlib
path = pathlib.Path(handed["outputs"]["outputFile"])
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(output))
"""


def test_a_task_that_exits_1_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="one: exit status 1"):
        one_task(tmp_path, "sys.exit(1)", {}).run_all()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_missing_output_parameter_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="failed to read output parameter 'answer'"):
        one_task(tmp_path, "pass", PARAMETER).run_all()


def test_an_output_parameter_is_read_from_its_file(tmp_path: Path) -> None:
    code = "open(handed['outputs']['parameters']['answer']['outputFile'], 'w').write('42')"
    assert one_task(tmp_path, code, PARAMETER).run_all().parameters == {"one": {"answer": "42"}}


def test_an_output_outside_its_root_fails_the_run(tmp_path: Path) -> None:
    code = f"output = {{'artifacts': {{'model': {{'artifacts': [{{'uri': 's3://other/x'}}]}}}}}}{WRITE_OUTPUT}"
    with pytest.raises(LaunchError, match="s3://other/x does not have the root's prefix"):
        one_task(tmp_path, code, ARTIFACT).run_all()


def test_an_output_whose_uri_is_a_path_is_silently_not_uploaded(tmp_path: Path) -> None:
    """Why the entrypoint maps paths back: the backend only logs this."""
    code = f"output = {{'artifacts': {{'model': {{'artifacts': [{{'uri': '/tmp/x'}}]}}}}}}{WRITE_OUTPUT}"
    launched = one_task(tmp_path, code, ARTIFACT).run_all()
    assert "one.model: /tmp/x is not recognized, skipping upload" in launched.warnings


def test_an_output_file_with_unknown_fields_fails_the_run(tmp_path: Path) -> None:
    code = f"output = {{'surprise': 1}}{WRITE_OUTPUT}"
    with pytest.raises(LaunchError, match="failed to unmarshal ExecutorOutput"):
        one_task(tmp_path, code, {}).run_all()


def test_a_missing_output_artifact_is_only_a_warning(tmp_path: Path) -> None:
    launched = one_task(tmp_path, "pass", ARTIFACT).run_all()
    assert [said.partition(":")[0] for said in launched.warnings] == ["one.model", "one.executor-logs"]


@pytest.mark.parametrize(
    ("end", "said"), [("raise SystemExit(0)", "SystemExit(0)"), ("import os; os._exit(0)", "os._exit(0)")]
)
def test_code_that_exits_in_a_container_fails_it(
    end: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"exiting_{'system' if 'System' in end else 'process'}"
    (tmp_path / f"{name}.py").write_text(f"{end}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    handed = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    words = ["--json_serialized_invocation_args", json.dumps(handed), "--json_serialized_inputs_spec_args", "{}"]
    assert node.main(["--executor_class_path", f"{name}.Executor", *words]) == 1
    assert f"user code exits with {said} instead of returning" in capsys.readouterr().err
    assert not (tmp_path / "output.json").exists()


def test_native_exit_of_code_in_a_container_fails_it(tmp_path: Path) -> None:
    (tmp_path / "exiting.py").write_text("import ctypes; ctypes.CDLL(None)._exit(0)\n")
    handed = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    words = ["--json_serialized_invocation_args", json.dumps(handed), "--json_serialized_inputs_spec_args", "{}"]
    command = [sys.executable, "-m", "kubeflow.entrypoint", "--executor_class_path", "exiting.Executor", *words]
    path = os.pathsep.join([str(tmp_path), str(Path(node.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert (ended.returncode, "before its work was done" in ended.stderr) == (1, True), ended.stderr


@pytest.mark.e2e
def test_examples_are_read_from_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = SmallPipeline(tmp_path / "project")
    monkeypatch.syspath_prepend(pipeline.folder)
    section = cluster(examples=f"s3://{BUCKET}/data/small", folders={"project": str(pipeline.folder)})
    compiled = tmp_path / "small.yaml"
    write_compiled(compile_file(pipeline.write(), write_environment(tmp_path, section)), compiled)
    spec, *rest = yaml.safe_load_all(compiled.read_text())
    spec["root"]["dag"]["tasks"] = {"examples": spec["root"]["dag"]["tasks"]["examples"]}
    compiled.write_text(yaml.safe_dump_all([spec, *rest]))
    launcher = Launcher(compiled, tmp_path / "store", tmp_path / "scratch", in_this_process)
    with s3_server() as server:
        server.put_folder(pipeline.folder / "data", "data/small")
        examples = launcher.run_all().artifacts["examples"]["examples"]
    assert examples.metadata["input_fingerprint"].startswith("split:train,num_files:1,total_bytes:")
    assert {path.name for path in launcher.stored(examples.uri).iterdir()} == {"Split-train", "Split-eval"}


@pytest.mark.e2e
def test_a_container_whose_examples_are_others_fails_and_says_why(
    whole: Whole, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher(whole.folder / "small.yaml", whole.folder / "store-2", whole.folder / "scratch-2", as_child)
    arguments = launcher.spec["deploymentSpec"]["executors"]["exec-examples"]["container"]["args"]
    arguments[arguments.index("--examples_sha256") + 1] = "0" * 64
    with pytest.raises(LaunchError, match="examples: exit status 1"):
        launcher.run_all()
    assert "edgemill: " in (said := capfd.readouterr().err)
    assert "the examples in the image differ from those that this pipeline was compiled with" in said
