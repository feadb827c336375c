"""The JSON that the launcher of Kubeflow Pipelines passes to a container and expects back. Does not depend on TFX.

The launcher stages `s3://bucket/key` below `/s3/bucket/key` and so on, but passes the URI to containers. TFX's and
Edgemill's executors need paths. The contract follows `backend/src/v2/component/launcher_v2.go` of Kubeflow Pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# Scheme -> folder where the launcher stages it.
STAGED = {"s3://": "/s3/", "minio://": "/minio/", "gs://": "/gcs/"}


def local_path(uri: str, prefix: str = "") -> str:
    """The path where the launcher stages a URI. Other URIs are returned unchanged.

    The prefix goes before the launcher's folders. Set it only for a launcher that cannot write to `/`.
    """
    for scheme, folder in STAGED.items():
        if uri.startswith(scheme):
            return prefix + folder + uri.removeprefix(scheme)
    return uri


def remote_uri(path: str, prefix: str = "") -> str:
    """The URI that `local_path` mapped to a path. Other paths are returned unchanged."""
    for scheme, folder in STAGED.items():
        if path.startswith(prefix + folder):
            return scheme + path.removeprefix(prefix + folder)
    return path


def localize(executor_input: Json, inputs_spec: Json, classes: Mapping[str, str], prefix: str = "") -> Json:
    """Convert an ExecutorInput for TFX: artifacts get types and paths.

    Args:
        executor_input: The text that the launcher substitutes for `{{$}}`.
        inputs_spec: The component's `inputDefinitions`, from the compiled file. The backend loses the types of
            input artifacts.
        classes: Title that starts with `system.` -> path of Edgemill's artifact class for it. The backend adds other
            outputs with such titles, such as a container's log. Executors don't expect them, so they are dropped.
        prefix: As for `local_path`.
    """
    inputs, outputs = executor_input.get("inputs", {}), executor_input.get("outputs", {})
    declared = inputs_spec.get("artifacts", {})

    def placed(listed: Json, known: Json) -> Json:
        found = listed.get("artifacts", ())
        return {"artifacts": [_placed({**one, **known}, prefix, classes) for one in found]}

    read = {
        name: placed(listed, {"type": declared[name]["artifactType"]})
        for name, listed in inputs.get("artifacts", {}).items()
    }
    made = {
        name: placed(listed, {})
        for name, listed in outputs.get("artifacts", {}).items()
        if all(_is_known(artifact, classes) for artifact in listed.get("artifacts", ()))
    }
    return {**executor_input, "inputs": {**inputs, "artifacts": read}, "outputs": {**outputs, "artifacts": made}}


def publish(executor_output: Json, handed: Json, prefix: str = "") -> Json:
    """Convert an ExecutorOutput for the launcher: paths become URIs again, also in properties.

    The launcher would register a local path as a URI, and silently upload nothing. `handed` is the launcher's
    ExecutorInput.

    Raises:
        ValueError: An output does not have the URI of `handed`, where the launcher looks for it.
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
            raise ValueError(f"the output {name!r} is at {uri}, but Kubeflow looks for it at {given.get(name)}")
        metadata = {
            key: remote_uri(value, prefix) if isinstance(value, str) else value
            for key, value in artifact.get("metadata", {}).items()
        }
        artifacts[name] = {"artifacts": [{**artifact, "uri": uri, "metadata": metadata}]}
    return {**executor_output, "artifacts": artifacts}


def with_metadata(executor_input: Json, output: Mapping[str, Any]) -> Json:
    """Add the properties and parameters that ExampleGen's driver returned to an ExecutorInput from `localize`."""
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
    """The title of an ArtifactTypeSchema, such as `tfx.Model` or `system.HTML`; empty if it has none."""
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
    # TFX reads the title of a type that is not its own as the path of a class.
    own = classes.get(title_of(artifact_type))
    return {"instanceSchema": f"title: {own}\ntype: object\n"} if own else artifact_type


def _placed(artifact: Json, prefix: str, classes: Mapping[str, str]) -> Json:
    metadata = {
        key: local_path(value, prefix) if isinstance(value, str) else value
        for key, value in artifact.get("metadata", {}).items()
    }
    typed = _typed(artifact.get("type", {}), classes)
    return {**artifact, "uri": local_path(artifact.get("uri", ""), prefix), "metadata": metadata, "type": typed}
