"""What the launcher of Kubeflow Pipelines hands to a container and takes back, as plain JSON. Nothing here is TFX.

The launcher stages `s3://bucket/key` below `/s3/bucket/key` and so on, but tells containers the URI. TFX's executors
and ours work on paths. The contract as read in Kubeflow Pipelines' `backend/src/v2/component/launcher_v2.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# Scheme -> where the launcher puts it.
STAGED = {"s3://": "/s3/", "minio://": "/minio/", "gs://": "/gcs/"}


def local_path(uri: str, prefix: str = "") -> str:
    """Where the launcher stages a URI; what it does not stage is returned as it is.

    Args:
        uri: An artifact's URI.
        prefix: Put before the launcher's folders: only for a launcher that may not write to `/`.
    """
    for scheme, folder in STAGED.items():
        if uri.startswith(scheme):
            return prefix + folder + uri.removeprefix(scheme)
    return uri


def remote_uri(path: str, prefix: str = "") -> str:
    """What `local_path` made a path of; other paths are returned as they are."""
    for scheme, folder in STAGED.items():
        if path.startswith(prefix + folder):
            return scheme + path.removeprefix(prefix + folder)
    return path


def localize(executor_input: Json, inputs_spec: Json, classes: Mapping[str, str], prefix: str = "") -> Json:
    """An ExecutorInput that TFX understands: artifacts with types, at paths.

    Args:
        executor_input: What the launcher puts for `{{$}}`.
        inputs_spec: The component's `inputDefinitions`, from the compiled file. The backend forgets the types of
            input artifacts.
        classes: Title beginning with `system.` -> path of the artifact class that we have for it. Other such outputs
            are the backend's own additions, a container's log say, which no executor knows: they are left out.
        prefix: As for `local_path`.
    """
    inputs, outputs = executor_input.get("inputs", {}), executor_input.get("outputs", {})
    declared = inputs_spec.get("artifacts", {})
    artifacts = {}
    for name, listed in inputs.get("artifacts", {}).items():
        typed = _typed(declared[name]["artifactType"], classes)
        artifacts[name] = {
            "artifacts": [{**_placed(artifact, prefix), "type": typed} for artifact in listed.get("artifacts", ())]
        }
    made = {
        name: {
            "artifacts": [
                {**_placed(artifact, prefix), "type": _typed(artifact.get("type", {}), classes)}
                for artifact in listed.get("artifacts", ())
            ]
        }
        for name, listed in outputs.get("artifacts", {}).items()
        if all(_is_known(artifact, classes) for artifact in listed.get("artifacts", ()))
    }
    return {
        **executor_input,
        "inputs": {**inputs, "artifacts": artifacts},
        "outputs": {**outputs, "artifacts": made},
    }


def publish(executor_output: Json, handed: Json, prefix: str = "") -> Json:
    """An ExecutorOutput that the launcher takes: every path a URI again, in properties too.

    A URI that is a local path would be registered, and silently not uploaded.

    Args:
        executor_output: What the executor made, with paths.
        handed: The ExecutorInput as the launcher gave it: an output keeps the URI it was given.
        prefix: As for `local_path`.

    Raises:
        ValueError: An output lies elsewhere than where the launcher looks for it.
    """
    given = {
        name: listed["artifacts"][0]["uri"]
        for name, listed in handed.get("outputs", {}).get("artifacts", {}).items()
        if listed.get("artifacts")
    }
    artifacts = {}
    for name, listed in executor_output.get("artifacts", {}).items():
        (artifact,) = listed["artifacts"]
        uri = remote_uri(artifact.get("uri", ""), prefix)
        if uri != given.get(name):
            raise ValueError(f"the output {name!r} is at {uri}, and Kubeflow looks for it at {given.get(name)}")
        metadata = {key: _remote_value(value, prefix) for key, value in artifact.get("metadata", {}).items()}
        artifacts[name] = {"artifacts": [{**artifact, "uri": uri, "metadata": metadata}]}
    return {**executor_output, "artifacts": artifacts}


def with_metadata(executor_input: Json, output: Mapping[str, Any]) -> Json:
    """The ExecutorInput with the properties that a driver's ExecutorOutput gives to output artifacts.

    Args:
        executor_input: As `localize` returned it.
        output: What ExampleGen's driver wrote.
    """
    outputs = executor_input["outputs"]
    artifacts = dict(outputs["artifacts"])
    for name, listed in output.get("artifacts", {}).items():
        (found,) = listed["artifacts"]
        (artifact,) = artifacts[name]["artifacts"]
        metadata = {**artifact.get("metadata", {}), **found.get("metadata", {})}
        artifacts[name] = {"artifacts": [{**artifact, "metadata": metadata}]}
    values = {**executor_input["inputs"].get("parameterValues", {}), **output.get("parameterValues", {})}
    return {
        **executor_input,
        "inputs": {**executor_input["inputs"], "parameterValues": values},
        "outputs": {**outputs, "artifacts": artifacts},
    }


def title_of(artifact_type: Mapping[str, Any]) -> str:
    """The title of an ArtifactTypeSchema: `tfx.Model`, `system.HTML`; empty if it has none."""
    if "schemaTitle" in artifact_type:
        return str(artifact_type["schemaTitle"])
    for line in str(artifact_type.get("instanceSchema", "")).splitlines():
        if line.startswith("title:"):
            return line.partition(":")[2].strip()
    return ""


def _is_known(artifact: Json, classes: Mapping[str, str]) -> bool:
    title = title_of(artifact.get("type", {}))
    return not title.startswith("system.") or title in classes


def _typed(artifact_type: Json, classes: Mapping[str, str]) -> Json:
    # TFX takes the title of a type that is not its own for the path of a class.
    own = classes.get(title_of(artifact_type))
    return {"instanceSchema": f"title: {own}\ntype: object\n"} if own else artifact_type


def _placed(artifact: Json, prefix: str) -> Json:
    metadata = {
        key: local_path(value, prefix) if isinstance(value, str) else value
        for key, value in artifact.get("metadata", {}).items()
    }
    return {**artifact, "uri": local_path(artifact.get("uri", ""), prefix), "metadata": metadata}


def _remote_value(value: Any, prefix: str) -> Any:
    return remote_uri(value, prefix) if isinstance(value, str) else value
