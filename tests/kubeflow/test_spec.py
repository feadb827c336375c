from typing import Any

import pytest

from components.core.errors import SpecError
from kubeflow.environment import KubeflowEnvironment
from kubeflow.spec import adapt, platform, task_names
from tests.kubeflow.environments import cluster


def place(**changes: Any) -> KubeflowEnvironment:
    return KubeflowEnvironment.model_validate(cluster(**changes))


def tfx_spec() -> dict[str, Any]:
    """What TFX's runner writes for two nodes, shortened."""
    container = {
        "container": {"image": "i", "command": ["python"], "args": ["--x"], "lifecycle": {"preCacheCheck": {}}}
    }
    examples = {"taskInfo": {"name": "examples"}, "componentRef": {"name": "examples"}}
    push = {
        "taskInfo": {"name": "push__phone"},
        "componentRef": {"name": "push__phone"},
        "dependentTasks": ["examples"],
        "inputs": {
            "artifacts": {"data": {"taskOutputArtifact": {"producerTask": "examples", "outputArtifactKey": "e"}}},
            "parameters": {"spec": {"runtimeValue": {"constant": "here"}}},
        },
    }
    return {
        "pipelineInfo": {"name": "p"},
        "components": {
            "examples": {
                "executorLabel": "examples_executor",
                "outputDefinitions": {
                    "artifacts": {"e": {"artifactType": {"instanceSchema": "title: system.HTML\ntype: object\n"}}}
                },
            },
            "push__phone": {"executorLabel": "push_executor"},
        },
        "deploymentSpec": {"executors": {"examples_executor": container, "push_executor": container}},
        "root": {"dag": {"tasks": {"examples": examples, "push__phone": push}}},
    }


def adapted(where: KubeflowEnvironment, **changes: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"parameters": {}, "arguments": {}, "env": {}, "uncached": frozenset(), **changes}
    return adapt(tfx_spec(), where, **asked)


def test_nodes_are_called_as_they_read_and_refer_to_each_other_so() -> None:
    found = adapted(place())
    task = found["root"]["dag"]["tasks"]["push-phone"]
    assert (task["taskInfo"], task["componentRef"]) == ({"name": "push-phone"}, {"name": "comp-push-phone"})
    assert (task["dependentTasks"], task["inputs"]["artifacts"]["data"]["taskOutputArtifact"]["producerTask"]) == (
        ["examples"],
        "examples",
    )
    assert found["components"]["comp-push-phone"]["executorLabel"] in found["deploymentSpec"]["executors"]


def test_names_that_underscores_alone_tell_apart_are_refused() -> None:
    with pytest.raises(SpecError, match="'convert__a_b' and 'convert__a__b' would have the same name"):
        task_names(["convert__a_b", "convert__a__b"])


def test_parameters_arguments_and_variables_reach_their_node() -> None:
    found = adapted(
        place(),
        parameters={"push__phone": {"spec": "there"}},
        arguments={"examples": ["--y"]},
        env={"B": "2", "A": "1"},
    )
    tasks, executors = found["root"]["dag"]["tasks"], found["deploymentSpec"]["executors"]
    assert tasks["push-phone"]["inputs"]["parameters"]["spec"] == {"runtimeValue": {"constant": "there"}}
    assert executors["exec-examples"]["container"]["args"] == ["--y", "--x"]
    assert executors["exec-push-phone"]["container"]["args"] == ["--x"]
    assert executors["exec-examples"]["container"]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert "lifecycle" not in executors["exec-examples"]["container"]


@pytest.mark.parametrize(
    ("memory", "gigabytes"), [("8G", 8.0), ("1Gi", 1.073741824), ("512Mi", 0.536870912), ("2000000000", 2.0)]
)
def test_bounds_stand_in_both_forms(memory: str, gigabytes: float) -> None:
    found = adapted(place(resources={"cpu": "500m", "memory": memory}))
    assert found["deploymentSpec"]["executors"]["exec-examples"]["container"]["resources"] == {
        "cpuLimit": 0.5,
        "resourceCpuLimit": "500m",
        "memoryLimit": gigabytes,
        "resourceMemoryLimit": memory,
    }


def test_caching_and_retries() -> None:
    tasks = adapted(place(retries={"count": 2, "wait_seconds": 5}), uncached=frozenset({"push__phone"}))["root"]["dag"][
        "tasks"
    ]
    assert (tasks["examples"]["cachingOptions"], tasks["push-phone"]["cachingOptions"]) == ({"enableCache": True}, {})
    assert tasks["examples"]["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "5s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }
    assert adapted(place(caching=False))["root"]["dag"]["tasks"]["examples"]["cachingOptions"] == {}


def test_types_that_the_pages_show_have_their_title() -> None:
    found = adapted(place())["components"]["comp-examples"]["outputDefinitions"]["artifacts"]["e"]
    assert found == {"artifactType": {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}}


def test_volumes_are_mounted_where_they_are_needed_only() -> None:
    where = place(
        examples="/data/clothes",
        volumes=[
            {"claim": "registry", "path": "/registry"},
            {"claim": "data", "path": "/data"},
            {"claim": "scratch", "path": "/scratch"},
        ],
    )
    found = platform(adapted(where), where)
    assert found is not None
    executors = found["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    claims = {label: [mount["constant"] for mount in pod["pvcMount"]] for label, pod in executors.items()}
    assert claims == {"exec-examples": ["data", "scratch"], "exec-push-phone": ["registry", "scratch"]}


def test_secrets_are_named_and_nothing_else() -> None:
    where = place(
        secrets=[{"secret": "s3", "variables": {"id": "AWS_ACCESS_KEY_ID"}}], image_pull_secret="pull", volumes=[]
    )
    found = platform(adapted(where), where)
    assert found is not None
    assert found["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-examples"] == {
        "secretAsEnv": [{"secretName": "s3", "keyToEnv": [{"secretKey": "id", "envVar": "AWS_ACCESS_KEY_ID"}]}],
        "imagePullSecret": [{"secretName": "pull"}],
    }


def test_key_sets_are_mounted_where_the_registry_is_used_and_found_by_their_variable() -> None:
    where = place(
        volumes=[],
        keys=["fleet-keys", "mirror-keys"],
        secrets=[{"secret": "snapshot", "variables": {"pem": "SNAPSHOT_KEY"}, "nodes": ["push__*"]}],
        secret_files=[{"secret": "gcs", "path": "/etc/gcs", "nodes": ["push__phone", "champion__*"]}],
    )
    found = adapted(where, env={"A": "1"})
    containers = {label: one["container"] for label, one in found["deploymentSpec"]["executors"].items()}
    assert containers["exec-examples"]["env"] == [{"name": "A", "value": "1"}]
    folders = "/etc/edgemill/keys/fleet-keys:/etc/edgemill/keys/mirror-keys"
    assert containers["exec-push-phone"]["env"] == [
        {"name": "A", "value": "1"},
        {"name": "EDGEMILL_KEYS", "value": folders},
    ]
    whole = platform(found, where)
    assert whole is not None
    assert whole["platforms"]["kubernetes"]["deploymentSpec"]["executors"] == {
        "exec-push-phone": {
            "secretAsEnv": [{"secretName": "snapshot", "keyToEnv": [{"secretKey": "pem", "envVar": "SNAPSHOT_KEY"}]}],
            "secretAsVolume": [
                {"secretName": "gcs", "mountPath": "/etc/gcs"},
                {"secretName": "fleet-keys", "mountPath": "/etc/edgemill/keys/fleet-keys"},
                {"secretName": "mirror-keys", "mountPath": "/etc/edgemill/keys/mirror-keys"},
            ],
        }
    }


def test_without_anything_of_kubernetes_there_is_one_document() -> None:
    where = place(volumes=[])
    assert platform(adapted(where), where) is None
