"""Converts TFX's pipeline specification for open-source Kubeflow Pipelines. Input and output are plain JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from components.core.errors import SpecError
from kubeflow.cluster_secrets import KEYS_VARIABLE, USE_REGISTRY
from kubeflow.contract import Json, title_of
from kubeflow.environment import KubeflowEnvironment, Resources, Volume
from pipelines.graph.steps import shown_id

_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1.0}


def task_names(nodes: Iterable[str], recipes: Mapping[str, Sequence[str]] = {}) -> dict[str, str]:
    """Node ID -> task name: `gate__phone` becomes `gate-phone`; a node with a digest has the name of its first recipe.

    `recipes` maps the ID of such a node to the recipes that share it. Kubeflow's cache ignores task names, so the
    names can be readable. Raises a SpecError if two nodes would have the same name.
    """
    names: dict[str, str] = {}
    for node in nodes:
        name = re.sub("_+", "-", shown_id(node, recipes))
        same = next((other for other, taken in names.items() if taken == name), None)
        if same is not None:
            both = " and ".join(repr(shown_id(each, recipes)) for each in (same, node))
            raise SpecError(
                f"the nodes {both} would have the same name on Kubeflow",
                where="recipes",
                measured=name,
                remedy="rename one of the recipes, so that they differ in more than underscores",
            )
        names[node] = name
    return names


def adapt(
    spec: Json,
    cluster: KubeflowEnvironment,
    *,
    parameters: Mapping[str, Mapping[str, str]],
    arguments: Mapping[str, list[str]],
    env: Mapping[str, str],
    uncached: frozenset[str],
    recipes: Mapping[str, Sequence[str]] = {},
) -> Json:
    """Convert the PipelineSpec of TFX's KubeflowV2DagRunner for a cluster.

    Args:
        spec, cluster: The specification, and the cluster's resources, retries, and caching.
        parameters: Node ID -> constants that replace TFX's: paths in the image.
        arguments: Node ID -> arguments to add to its command line.
        env: Environment variables of every container.
        uncached: IDs of the nodes whose outputs never come from an earlier run.
        recipes: As for `task_names`.
    """
    names = task_names(spec["root"]["dag"]["tasks"], recipes)
    tasks = {
        names[node]: _task(task, names, parameters.get(node, {}), cluster, cached=node not in uncached)
        for node, task in spec["root"]["dag"]["tasks"].items()
    }
    components, executors = {}, {}
    for node, component in spec["components"].items():
        label = f"exec-{names[node]}"
        components[f"comp-{names[node]}"] = {**_typed(component), "executorLabel": label}
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        resources = cluster.resources_of(shown_id(node, recipes))
        own = {**env, **_keys(cluster)} if node.startswith(USE_REGISTRY) else env
        executors[label] = {"container": _container(container, resources, arguments.get(node, []), own)}
    return {
        **spec,
        "components": components,
        "deploymentSpec": {**spec["deploymentSpec"], "executors": executors},
        "root": {**spec["root"], "dag": {"tasks": tasks}},
        "defaultPipelineRoot": cluster.pipeline_root,
    }


def platform(spec: Json, cluster: KubeflowEnvironment) -> Json | None:
    """The second document of the compiled file, specific to Kubernetes. None if it would be empty.

    It contains the names and keys of secrets, never their values. If a field has an older and a newer form, this uses
    the older one: backends read both, and older backends refuse unknown fields.
    """
    executors = {label: pod for label in spec["deploymentSpec"]["executors"] if (pod := _pod(label, cluster))}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}} if executors else None


def _pod(label: str, cluster: KubeflowEnvironment) -> Json:
    pod: Json = {}
    if secrets := [one for one in cluster.secrets if _is_for(label, one.nodes)]:
        pod["secretAsEnv"] = [
            {
                "secretName": secret.secret,
                "keyToEnv": [{"secretKey": key, "envVar": name} for key, name in sorted(secret.variables.items())],
            }
            for secret in secrets
        ]
    if mounted := [one for one in cluster.mounted if _is_for(label, one.nodes)]:
        pod["secretAsVolume"] = [{"secretName": one.secret, "mountPath": one.path} for one in mounted]
    volumes = [volume for volume in cluster.volumes if _mounts(label, volume, cluster)]
    if volumes:
        pod["pvcMount"] = [{"constant": volume.claim, "mountPath": volume.path} for volume in volumes]
    if cluster.image_pull_secret:
        pod["imagePullSecret"] = [{"secretName": cluster.image_pull_secret}]
    return pod


def _is_for(label: str, nodes: Sequence[str]) -> bool:
    """Whether a pattern of node IDs matches an executor, whose label has hyphens in place of underscores."""
    return any(fnmatchcase(label.removeprefix("exec-"), re.sub("_+", "-", glob)) for glob in nodes)


def _keys(cluster: KubeflowEnvironment) -> dict[str, str]:
    """The variable through which nodes that use the registry find the mounted key sets."""
    folders = [one.path for one in cluster.mounted if one.secret in cluster.keys]
    return {KEYS_VARIABLE: ":".join(folders)} if folders else {}


def _mounts(label: str, volume: Volume, cluster: KubeflowEnvironment) -> bool:
    """Whether a node mounts a volume. Only nodes that need it do: many volumes allow only one machine at a time."""
    users = {
        **{f"exec-{node.replace('__', '-')}": cluster.registry for node in USE_REGISTRY},
        "exec-examples": cluster.examples if cluster.examples and cluster.examples.startswith("/") else None,
    }
    needed = {prefix for prefix, path in users.items() if path and PurePosixPath(path).is_relative_to(volume.path)}
    return not needed or any(label.startswith(prefix) for prefix in needed)


def _task(
    task: Json, names: Mapping[str, str], constants: Mapping[str, str], cluster: KubeflowEnvironment, cached: bool
) -> Json:
    inputs = task.get("inputs", {})
    artifacts = {
        name: {"taskOutputArtifact": {**output, "producerTask": names[output["producerTask"]]}}
        for name, source in inputs.get("artifacts", {}).items()
        if (output := source["taskOutputArtifact"])
    }
    values = {
        name: {"runtimeValue": {"constant": constants[name]}} if name in constants else value
        for name, value in inputs.get("parameters", {}).items()
    }
    node = task["componentRef"]["name"]
    adapted = {
        **task,
        "taskInfo": {"name": names[node]},
        "componentRef": {"name": f"comp-{names[node]}"},
        "inputs": {"artifacts": artifacts, "parameters": values},
        "dependentTasks": sorted(names[other] for other in task.get("dependentTasks", ())),
        "cachingOptions": {"enableCache": True} if cached and cluster.caching else {},
    }
    if cluster.retries.count:
        adapted["retryPolicy"] = {
            "maxRetryCount": cluster.retries.count,
            "backoffDuration": f"{cluster.retries.wait_seconds}s",
            "backoffFactor": cluster.retries.factor,
            "backoffMaxDuration": f"{cluster.retries.longest_wait_seconds}s",
        }
    return adapted


def _typed(component: Json) -> Json:
    """Write the backend's own types as title and version, as its pages expect them."""
    outputs = component.get("outputDefinitions", {})
    artifacts = {}
    for name, output in outputs.get("artifacts", {}).items():
        title = title_of(output["artifactType"])
        own = {"schemaTitle": title, "schemaVersion": "0.0.1"} if title.startswith("system.") else None
        artifacts[name] = {**output, "artifactType": own} if own else output
    return {**component, "outputDefinitions": {**outputs, "artifacts": artifacts}} if artifacts else component


def _container(container: Json, resources: Resources, arguments: list[str], env: Mapping[str, str]) -> Json:
    # The backend never calls the pre-cache hook. Edgemill's entrypoint does its work.
    kept: dict[str, Any] = {name: value for name, value in container.items() if name != "lifecycle"}
    bounds: Json = {}
    if resources.cpu:
        cores = float(resources.cpu.removesuffix("m")) / (1000 if resources.cpu.endswith("m") else 1)
        bounds |= {"cpuLimit": cores, "resourceCpuLimit": resources.cpu}
    if resources.memory:
        # The older field is in gigabytes.
        bounds |= {"memoryLimit": _bytes(resources.memory) / 1e9, "resourceMemoryLimit": resources.memory}
    return {
        **kept,
        "args": [*arguments, *container.get("args", ())],
        **({"env": [{"name": name, "value": value} for name, value in sorted(env.items())]} if env else {}),
        **({"resources": bounds} if bounds else {}),
    }


def _bytes(quantity: str) -> float:
    number = quantity.rstrip("kMGTi")
    return float(number) * _UNITS[quantity.removeprefix(number)]
