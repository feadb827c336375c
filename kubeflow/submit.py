"""Uploads, runs, and schedules compiled pipelines on a cluster, through the client of Kubeflow Pipelines."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from components.core.errors import SpecError
from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel
from kubeflow.compile import Compiled
from kubeflow.cron import Cron
from kubeflow.endpoint import TOKEN_VARIABLE, Endpoint
from kubeflow.environment import KubeflowEnvironment

_PAGE = 100
# From the API's filter.proto.
_EQUALS = 1


class Submitted(FrozenModel):
    """The result of a submission.

    Attributes:
        pipeline_id, version_id: IDs of the pipeline and its version.
        version: The version's name, which contains a digest of the compiled file.
        new_version: Whether the version is new on the cluster.
        run_id: ID of the started run, if any.
        recurring_run_id: ID of the created schedule, if any.
        link: Page of the run, the schedule, or the pipeline.
    """

    pipeline_id: str
    version_id: str
    version: str
    new_version: bool
    run_id: str | None = None
    recurring_run_id: str | None = None
    link: str


class Cluster:
    """A Kubeflow Pipelines API.

    Args:
        environment: Provides `endpoint`, `namespace`, and `experiment`.
        token: Bearer token. By default, `EDGEMILL_KUBEFLOW_TOKEN`; without either, none is sent.

    Raises:
        SpecError: The environment names no endpoint.
        ClusterError: The API cannot be reached, or refuses the credentials. The message contains neither token nor
            password.
    """

    def __init__(self, environment: KubeflowEnvironment, token: str | None = None) -> None:
        if environment.endpoint is None:
            raise SpecError(
                "the environment file names no cluster to submit to",
                where="kubeflow.endpoint",
                bound="the address of the Kubeflow Pipelines API, such as https://kubeflow.example.org/pipeline",
                remedy="add it",
            )
        self._environment = environment
        self._endpoint = Endpoint(environment.endpoint.rstrip("/"), token or os.environ.get(TOKEN_VARIABLE) or None)
        self._endpoint.probe()
        with warnings.catch_warnings(), self._endpoint.errors_explained("connecting"):
            warnings.simplefilter("ignore")
            from kfp.client import Client

            self._client = Client(
                host=self._endpoint.url,
                existing_token=self._endpoint.token,
                namespace=environment.namespace or "kubeflow",
            )

    def submit(self, compiled: Compiled) -> Submitted:
        """Upload a compiled pipeline as a new pipeline or version. Uploads nothing if the cluster has the version."""
        text = compiled.to_yaml()
        version = f"{compiled.name}-{sha256_of_bytes(text.encode())[:12]}"
        with tempfile.TemporaryDirectory() as folder, self._endpoint.errors_explained(f"uploading {compiled.name}"):
            path = Path(folder, "pipeline.yaml")
            path.write_text(text)
            pipeline_id = self._pipeline(compiled.name) or self._new_pipeline(compiled.name)
            known = self._version(pipeline_id, version)
            new = known is None
            if known is None:
                known = self._client.upload_pipeline_version(
                    str(path), pipeline_version_name=version, pipeline_id=pipeline_id
                )
        version_id = str(known.pipeline_version_id)
        return Submitted(
            pipeline_id=str(pipeline_id),
            version_id=version_id,
            version=str(known.display_name),
            new_version=new,
            link=f"{self._endpoint.url}/#/pipelines/details/{pipeline_id}/version/{version_id}",
        )

    def run(self, submitted: Submitted, name: str) -> Submitted:
        """Start a run of a version."""
        with self._endpoint.errors_explained(f"starting {name}"):
            started = self._client.run_pipeline(
                experiment_id=self._experiment(),
                job_name=f"{name} {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}",
                pipeline_id=submitted.pipeline_id,
                version_id=submitted.version_id,
                pipeline_root=self._environment.pipeline_root,
            )
        link = f"{self._endpoint.url}/#/runs/details/{started.run_id}"
        return submitted.model_copy(update={"run_id": str(started.run_id), "link": link})

    def schedule(self, submitted: Submitted, name: str, cron: Cron) -> Submitted:
        """Create a recurring run of a version. It does not catch up on missed runs.

        Raises:
            SpecError: A schedule of that name exists.
        """
        with self._endpoint.errors_explained(f"scheduling {name}"):
            experiment = self._experiment()
            same = self._scheduled(name)
            if same is None:
                made = self._client.create_recurring_run(
                    experiment_id=experiment,
                    job_name=name,
                    cron_expression=cron.kubeflow,
                    max_concurrency=1,
                    no_catchup=True,
                    pipeline_id=submitted.pipeline_id,
                    version_id=submitted.version_id,
                    pipeline_root=self._environment.pipeline_root,
                )
        if same is not None:
            raise SpecError(
                f"a schedule called {name!r} already exists",
                where=f"--name {name}",
                bound="a new name",
                measured=f"recurring run {same}",
                remedy="choose another --name, or delete the other schedule on the cluster's pages",
            )
        link = f"{self._endpoint.url}/#/recurringrun/details/{made.recurring_run_id}"
        return submitted.model_copy(update={"recurring_run_id": str(made.recurring_run_id), "link": link})

    def _experiment(self) -> str:
        found = self._client.create_experiment(self._environment.experiment, namespace=self._environment.namespace)
        return str(found.experiment_id)

    def _pipeline(self, name: str) -> str | None:
        # The client's own lookup ignores namespaces.
        wanted = json.dumps({"predicates": [{"operation": _EQUALS, "key": "display_name", "stringValue": name}]})
        pipelines = self._pages(
            lambda page: self._client.list_pipelines(
                namespace=self._environment.namespace, filter=wanted, page_token=page, page_size=_PAGE
            ),
            "pipelines",
        )
        return next((str(pipeline.pipeline_id) for pipeline in pipelines), None)

    def _new_pipeline(self, name: str) -> str:
        # An upload would also create a version with the name of the pipeline, which would not be found again.
        from kfp_server_api import V2beta1Pipeline

        asked = V2beta1Pipeline(display_name=name, namespace=self._environment.namespace)
        return str(self._client.pipelines.pipeline_service_create_pipeline(asked).pipeline_id)

    def _version(self, pipeline_id: str, name: str) -> Any:
        versions = self._pages(lambda page: self._client.list_pipeline_versions(
            pipeline_id, page_token=page, page_size=_PAGE), "pipeline_versions")  # fmt: skip
        return next((version for version in versions if version.display_name == name), None)

    def _scheduled(self, name: str) -> str | None:
        # Search all experiments, because pages and logs identify schedules only by name.
        runs = self._pages(
            lambda page: self._client.list_recurring_runs(
                namespace=self._environment.namespace, page_token=page, page_size=_PAGE
            ),
            "recurring_runs",
        )
        return next((str(run.recurring_run_id) for run in runs if run.display_name == name), None)

    @staticmethod
    def _pages(ask: Any, field: str) -> Iterator[Any]:
        token = ""
        while True:
            answer = ask(token)
            yield from getattr(answer, field) or ()
            token = answer.next_page_token
            if not token:
                return
