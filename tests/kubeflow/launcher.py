"""What Kubeflow Pipelines' driver and launcher do around each container, without a cluster and without containers.

Written from `backend/src/v2/driver` and `backend/src/v2/component/launcher_v2.go` of kubeflow/pipelines, and from
nothing of ours: it reads the compiled file, resolves inputs, stages them, runs the command, parses what it left
strictly, and uploads. The object store is a folder; `/s3`, `/minio` and `/gcs` lie below a fresh folder per task.

Secrets follow `extendPodSpecPatch` in `driver.go`, and their files are as the `AtomicWriter` of kubelet makes them. A
container of a cluster finds them at their mount path; here they lie below the task's folder, and a variable that names
the mount path names that folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

Json = dict[str, Any]
Run = Callable[[list[str], Mapping[str, str]], int]

_FOLDERS = {"gs://": "gcs/", "minio://": "minio/", "s3://": "s3/"}


class LaunchError(Exception):
    """The task, and so the run, failed."""


@dataclass
class Stored:
    """What the metadata server holds of one artifact."""

    id: int
    uri: str
    metadata: Json


@dataclass
class Launched:
    """What a run left.

    Attributes:
        artifacts: Task -> output -> artifact.
        parameters: Task -> output -> value.
        warnings: What the launcher merely logs.
        handed: Task -> the ExecutorInput it was given.
    """

    artifacts: dict[str, dict[str, Stored]] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    handed: dict[str, Json] = field(default_factory=dict)


def as_child(command: list[str], env: Mapping[str, str]) -> int:
    """Runs a command as the container would: in its own process."""
    program = sys.executable if command[0] == "python" else command[0]
    return subprocess.run([program, *command[1:]], env={**os.environ, **env}, check=False).returncode


class Launcher:
    """Runs a compiled pipeline.

    Args:
        compiled: The YAML file.
        store: A folder as object store: `minio://bucket/key` is `bucket/key` in it.
        scratch: Where containers' file systems lie.
        run: Runs one command.
        secrets: Name of each secret of the cluster -> key -> value.

    Attributes:
        run_command: Runs one command; `run` at first.
    """

    def __init__(
        self,
        compiled: Path,
        store: Path,
        scratch: Path,
        run: Run = as_child,
        secrets: Mapping[str, Mapping[str, bytes]] = {},
    ) -> None:
        self.spec, *platforms = yaml.safe_load_all(compiled.read_text())
        kubernetes = platforms[0]["platforms"]["kubernetes"] if platforms else {"deploymentSpec": {"executors": {}}}
        self.pods: dict[str, Json] = kubernetes["deploymentSpec"]["executors"]
        self._secrets = secrets
        self._store, self._scratch, self.run_command = store, scratch, run
        self._root = f"{self.spec['defaultPipelineRoot'].rstrip('/')}/{self.spec['pipelineInfo']['name']}/run-1"
        self.launched = Launched()

    def stored(self, uri: str) -> Path:
        """Where the object store has a URI."""
        return self._store / uri.partition("://")[2]

    def run_all(self) -> Launched:
        """Run every task once its upstream tasks are done."""
        waiting = dict(self.spec["root"]["dag"]["tasks"])
        while waiting:
            ready = [name for name, task in waiting.items() if not self._upstream(task) & set(waiting)]
            if not ready:
                raise LaunchError(f"a cycle, or an unknown task: {sorted(waiting)}")
            for name in ready:
                self._launch(name, waiting.pop(name))
        return self.launched

    def run(self, name: str) -> None:
        """Run one task again, on what its upstream tasks left."""
        self._launch(name, self.spec["root"]["dag"]["tasks"][name])

    def _upstream(self, task: Json) -> set[str]:
        inputs = task.get("inputs", {})
        producers = {each["taskOutputArtifact"]["producerTask"] for each in inputs.get("artifacts", {}).values()}
        for each in inputs.get("parameters", {}).values():
            if "taskOutputParameter" in each:
                producers.add(each["taskOutputParameter"]["producerTask"])
        return {*task.get("dependentTasks", ()), *producers}

    def _launch(self, name: str, task: Json) -> None:
        component = self.spec["components"][task["componentRef"]["name"]]
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        place = self._scratch / name
        place.mkdir(parents=True)  # fresh
        try:
            handed = self._executor_input(task, component, place, name)
            self.launched.handed[name] = handed
            self._download(handed, place)
            self._prepare(handed, place)
            command = [
                part.replace("{{$}}", json.dumps(handed)) for part in (*container["command"], *container["args"])
            ]
            env = {each["name"]: each["value"] for each in container.get("env", ())}
            env = self._with_secrets(name, self.pods.get(component["executorLabel"], {}), env, place)
            status = self.run_command(command, {**env, "EDGEMILL_STAGING_PREFIX": str(place)})
            if status != 0:
                raise LaunchError(f"{name}: exit status {status}")
            output = _executor_output(Path(handed["outputs"]["outputFile"]))
            self._collect_parameters(name, handed, component, output)
            self._upload(name, handed, output, place)
        finally:
            shutil.rmtree(place)

    def _with_secrets(self, name: str, pod: Json, env: dict[str, str], place: Path) -> dict[str, str]:
        mounts = pod.get("secretAsVolume", ())
        volumes = [mount["secretName"] for mount in mounts] + [claim["constant"] for claim in pod.get("pvcMount", ())]
        if len(set(volumes)) < len(volumes):
            raise LaunchError(f"{name}: Pod is invalid: spec.volumes: Duplicate value in {volumes}")
        for mount in mounts:
            project(self._secret(name, mount["secretName"]), place / mount["mountPath"].lstrip("/"))
        for each in pod.get("secretAsEnv", ()):
            values = self._secret(name, each["secretName"])
            for key in each["keyToEnv"]:
                if key["secretKey"] not in values:
                    raise LaunchError(f"{name}: CreateContainerConfigError: couldn't find key {key['secretKey']}")
                env[key["envVar"]] = values[key["secretKey"]].decode()
        paths = [mount["mountPath"] for mount in mounts]
        return {variable: _seen_from(place, value, paths) for variable, value in env.items()}

    def _secret(self, name: str, secret: str) -> Mapping[str, bytes]:
        if secret not in self._secrets:
            raise LaunchError(f'{name}: CreateContainerConfigError: secret "{secret}" not found')
        return self._secrets[secret]

    def _executor_input(self, task: Json, component: Json, place: Path, name: str) -> Json:
        declared = component.get("inputDefinitions", {})
        inputs = task.get("inputs", {})
        values = {key: self._parameter(each) for key, each in inputs.get("parameters", {}).items()}
        for key, each in declared.get("parameters", {}).items():
            if key not in values and "defaultValue" in each:
                values[key] = each["defaultValue"]
        artifacts = {}
        for key, each in inputs.get("artifacts", {}).items():
            source = each["taskOutputArtifact"]
            found = self.launched.artifacts[source["producerTask"]][source["outputArtifactKey"]]
            # The backend has forgotten the type.
            artifact = {"name": str(found.id), "uri": found.uri, "type": {"instanceSchema": ""}}
            artifacts[key] = {"artifacts": [{**artifact, "metadata": found.metadata}]}
        outputs = component.get("outputDefinitions", {})
        salt = uuid.uuid4()
        return {
            "inputs": {"parameterValues": values, "artifacts": artifacts},
            "outputs": {
                "parameters": {
                    key: {"outputFile": str(place / "tmp/kfp/outputs" / key)} for key in outputs.get("parameters", {})
                },
                "artifacts": {
                    key: {
                        "artifacts": [
                            {
                                "uri": f"{self._root}/{name}/{salt}/{key}",
                                "type": each["artifactType"],
                                "metadata": each.get("metadata", {}),
                            }
                        ]
                    }
                    # With publishLogs the driver adds an output that nobody declared.
                    for key, each in {
                        **outputs.get("artifacts", {}),
                        "executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}},
                    }.items()
                },
                "outputFile": str(place / "tmp/kfp_outputs/output_metadata.json"),
            },
        }

    def _parameter(self, source: Json) -> Any:
        if "runtimeValue" in source:
            return source["runtimeValue"]["constant"]
        if "taskOutputParameter" in source:
            producer = source["taskOutputParameter"]
            return self.launched.parameters[producer["producerTask"]][producer["outputParameterKey"]]
        root = self.spec["root"]["inputDefinitions"]["parameters"]
        return root[source["componentInputParameter"]]["defaultValue"]

    def _download(self, handed: Json, place: Path) -> None:
        for listed in handed["inputs"]["artifacts"].values():
            uri = listed["artifacts"][0]["uri"]
            here, there = local_path(uri, place), self.stored(uri)
            if here is None or not there.exists():
                continue
            _copy_files(there, here)

    def _prepare(self, handed: Json, place: Path) -> None:
        for each in handed["outputs"]["parameters"].values():
            Path(each["outputFile"]).parent.mkdir(parents=True, exist_ok=True)
        for listed in handed["outputs"]["artifacts"].values():
            here = local_path(listed["artifacts"][0]["uri"], place)
            assert here is not None
            here.parent.mkdir(parents=True, exist_ok=True)  # the parent only

    def _collect_parameters(self, name: str, handed: Json, component: Json, output: Json) -> None:
        found = dict(output.get("parameterValues", {}))
        for key, each in handed["outputs"]["parameters"].items():
            if key in found:
                continue
            path = Path(each["outputFile"])
            if not path.is_file():
                raise LaunchError(f"{name}: failed to read output parameter {key!r}: no file {path}")
            kind = component["outputDefinitions"]["parameters"][key]["parameterType"]
            text = path.read_text()
            found[key] = text if kind == "STRING" else float(text)
        self.launched.parameters[name] = found

    def _upload(self, name: str, handed: Json, output: Json, place: Path) -> None:
        published = self.launched.artifacts.setdefault(name, {})
        for key, listed in handed["outputs"]["artifacts"].items():
            (artifact,) = listed["artifacts"]
            uri, metadata = artifact["uri"], dict(artifact["metadata"])
            for merged in output.get("artifacts", {}).get(key, {}).get("artifacts", ())[:1]:
                uri = merged.get("uri") or uri
                metadata.update(merged.get("metadata", {}))
            here = local_path(uri, place)
            if here is None:
                self.launched.warnings.append(f"{name}.{key}: {uri} is not recognized, skipping upload")
            else:
                if not uri.startswith(self.spec["defaultPipelineRoot"]):
                    raise LaunchError(f"{name}: failed to upload {key!r}: {uri} does not have the root's prefix")
                self._copy(here, uri, f"{name}.{key}")
            number = 1 + sum(len(each) for each in self.launched.artifacts.values())
            published[key] = Stored(number, uri, {each: _kept(value) for each, value in metadata.items()})

    def _copy(self, here: Path, uri: str, what: str) -> None:
        there = self.stored(uri)
        if here.exists():
            _copy_files(here, there)
        else:
            self.launched.warnings.append(f"{what}: {uri} does not exist locally")


def project(values: Mapping[str, bytes], folder: Path) -> None:
    """A secret's volume: links by way of `..data`, and files that everybody in the pod can read."""
    data = folder / "..2026_01_01_00_00_00.1"
    data.mkdir(parents=True)
    for key, value in values.items():
        (data / key).write_bytes(value)
        (data / key).chmod(0o644)
        (folder / key).symlink_to(Path("..data", key))
    (folder / "..data").symlink_to(data.name)


def _seen_from(place: Path, value: str, paths: list[str]) -> str:
    """The value of a variable, with paths below a mount path below the task's folder."""
    return ":".join(
        f"{place}{part}" if any(f"{part}/".startswith(f"{path}/") for path in paths) else part
        for part in value.split(":")
    )


def local_path(uri: str, place: Path) -> Path | None:
    """LocalPathForURI, below a task's own folder instead of `/`."""
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return place / folder / uri.removeprefix(scheme)
    return None


def _copy_files(source: Path, target: Path) -> None:
    """Files only: an object store knows no empty folders."""
    for file in [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]:
        copy = target / file.relative_to(source) if file != source else target
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _executor_output(path: Path) -> Json:
    if not path.exists():
        return {}
    try:
        parsed = json_format.Parse(path.read_text(), pipeline_spec_pb2.ExecutorOutput(), ignore_unknown_fields=False)
    except json_format.ParseError as error:
        raise LaunchError(f"failed to unmarshal ExecutorOutput: {error}") from error
    output: Json = json_format.MessageToDict(parsed)
    return output


def _kept(value: Any) -> Any:
    """A property after its way through the metadata server."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value
