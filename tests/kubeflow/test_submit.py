import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.core.errors import ClusterError, SpecError
from edgemill.main import app
from kubeflow.compile import Compiled
from kubeflow.cron import parse_cron
from kubeflow.environment import KubeflowEnvironment
from kubeflow.submit import TOKEN_VARIABLE, Cluster
from tests.kubeflow.environments import SECRET, cluster, write_environment
from tests.kubeflow.fake_api import FakeApi, served
from tests.small_pipeline import SmallPipeline


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeApi]:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with served(FakeApi()) as running:
        yield running


def connect(api: FakeApi, **changes: Any) -> Cluster:
    return Cluster(KubeflowEnvironment.model_validate(cluster(endpoint=api.url, **changes)))


def compiled(image: str = "i:1") -> Compiled:
    executor = {"container": {"image": image, "command": ["true"]}}
    return Compiled(
        name="small",
        pipeline={
            "pipelineInfo": {"name": "small"},
            "schemaVersion": "2.1.0",
            "sdkVersion": "tfx-1.16.0",
            "components": {"comp-a": {"executorLabel": "exec-a"}},
            "deploymentSpec": {"executors": {"exec-a": executor}},
            "root": {"dag": {"tasks": {"a": {"taskInfo": {"name": "a"}, "componentRef": {"name": "comp-a"}}}}},
        },
        platform=None,
    )


def test_a_new_pipeline_is_made_and_run(api: FakeApi) -> None:
    there = connect(api, experiment="nightly")
    submitted = there.run(there.submit(compiled()), "first")
    assert [pipeline["display_name"] for pipeline in api.pipelines] == ["small"]
    assert api.versions[0]["pipeline_spec"] == compiled().pipeline
    assert submitted.new_version
    (run,) = api.runs
    assert run["pipeline_version_reference"] == {
        "pipeline_id": "pipeline_id-0",
        "pipeline_version_id": "pipeline_version_id-0",
    }
    assert run["runtime_config"]["pipeline_root"] == "minio://mlpipeline/v2/artifacts"
    assert run["display_name"].startswith("first 20")
    assert (api.experiments[0]["display_name"], run["experiment_id"]) == ("nightly", "experiment_id-0")
    assert submitted.link == f"{api.url}/#/runs/details/run_id-0"


def test_the_same_file_is_no_new_version_and_a_changed_one_is(api: FakeApi) -> None:
    there = connect(api)
    first, second = there.submit(compiled()), there.submit(compiled())
    assert (first.version_id, second.new_version) == (second.version_id, False)
    third = there.submit(compiled("i:2"))
    # The list has one item per page: the second page is read too.
    assert there.submit(compiled("i:2")).version_id == third.version_id == "pipeline_version_id-1"
    assert (len(api.pipelines), len(api.versions)) == (1, 2)


def test_pipelines_of_other_namespaces_are_not_ours(api: FakeApi) -> None:
    for namespace in ("team-a", "team-b", "team-a"):
        there = connect(api, namespace=namespace)
        there.run(there.submit(compiled()), "run")
    assert [(each["namespace"], each["pipeline_id"]) for each in api.pipelines] == [
        ("team-a", "pipeline_id-0"),
        ("team-b", "pipeline_id-1"),
    ]
    assert [each["pipeline_version_reference"]["pipeline_id"] for each in api.runs] == [
        "pipeline_id-0",
        "pipeline_id-1",
        "pipeline_id-0",
    ]


def test_a_schedule_has_kubeflows_cron_and_catches_nothing_up(api: FakeApi) -> None:
    there = connect(api)
    there.schedule(there.submit(compiled()), "nightly", parse_cron("30 2 * * *"))
    (recurring,) = api.recurring
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 30 2 * * *"}}
    assert (recurring["no_catchup"], recurring["mode"], recurring["max_concurrency"]) == (True, "ENABLE", 1)


def test_two_schedules_of_one_name_are_refused(api: FakeApi) -> None:
    there = connect(api)
    submitted = there.submit(compiled())
    for name in ("nightly", "weekly"):
        there.schedule(submitted, name, parse_cron("30 2 * * *"))
    with pytest.raises(SpecError, match=r"a schedule called 'weekly' already exists .*recurring_run_id-1"):
        there.schedule(submitted, "weekly", parse_cron("0 5 * * *"))
    assert len(api.recurring) == 2


def test_the_token_is_sent_and_never_printed(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.token = SECRET
    monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
    assert connect(api).submit(compiled()).new_version
    wrong = f"wrong-{SECRET}"
    monkeypatch.setenv(TOKEN_VARIABLE, wrong)
    with pytest.raises(ClusterError, match="refused the credentials") as caught:
        connect(api)
    assert "HTTP status 401" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_server_that_repeats_the_token_later_does_not_make_us_repeat_it(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    api.token = SECRET
    monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
    there = connect(api)
    api.failures[("POST", ".*/pipelines")] = (500, f"token {SECRET} is odd")
    with pytest.raises(ClusterError, match=r"the cluster refused: token \*\*\* is odd") as caught:
        there.submit(compiled())
    said = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in said
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (("POST", ".*/upload_version"), 409, "another client is creating the same object"),
        (("POST", ".*/upload_version"), 404, "check `kubeflow.endpoint`, the pipeline, the experiment"),
        (("GET", ".*/pipelines"), 403, "refused the credentials"),
        (("POST", ".*/upload_version"), 503, "see the cluster's log for details"),
    ],
)
def test_refusals_say_what_to_do(api: FakeApi, failure: tuple[str, str], status: int, said: str) -> None:
    there = connect(api)
    api.failures[failure] = (status, "because of the moon")
    with pytest.raises(ClusterError, match=f"HTTP status {status}") as caught:
        there.submit(compiled())
    assert said in str(caught.value)
    assert ("because of the moon" in str(caught.value)) == (status != 403)


def test_an_address_without_the_api_is_reported(api: FakeApi) -> None:
    environment = KubeflowEnvironment.model_validate(cluster(endpoint=f"{api.url}/nowhere"))
    with pytest.raises(ClusterError, match="HTTP status 404"):
        Cluster(environment)


def test_an_unreachable_cluster_is_reported_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = KubeflowEnvironment.model_validate(cluster(endpoint=f"http://127.0.0.1:{port}"))
    with pytest.raises(ClusterError, match=r"cannot be reached: .*Connection refused.*nothing was submitted"):
        Cluster(environment)


def test_an_environment_without_endpoint_is_reported() -> None:
    with pytest.raises(SpecError, match="names no cluster to submit to"):
        Cluster(KubeflowEnvironment.model_validate(cluster()))


def test_command_submits_and_schedules(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    file = SmallPipeline(tmp_path / "project").write()
    environment = write_environment(tmp_path, cluster(endpoint=api.url, folders={"project": "/project"}))
    arguments = ["submit", str(file), "--environment", str(environment)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"{api.url}/#/runs/details/run_id-0" in result.output
    assert api.versions[0]["pipeline_spec"]["pipelineInfo"] == {"name": "small"}
    result = CliRunner().invoke(app, [*arguments, "--cron", "30 2 * * *"])
    assert (result.exit_code, "(already uploaded)" in result.output, len(api.versions)) == (0, True, 1)
    result = CliRunner().invoke(app, [*arguments, "--cron", "30 2 * * *"])
    assert (result.exit_code, "a schedule called 'small' already exists" in result.output) == (2, True)
    api.token = SECRET
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "refused the credentials" in result.output) == (1, True)
