"""Uploads, runs, and schedules compiled pipelines on a cluster, through the client of Kubeflow Pipelines.

The client's errors become messages without secrets.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from components.core.errors import ClusterError, SpecError
from components.core.files import sha256_of_bytes
from components.core.values import FrozenModel
from kubeflow.compile import Compiled
from kubeflow.cron import Cron
from kubeflow.environment import KubeflowEnvironment

# A bearer token is never in a file or on a command line.
TOKEN_VARIABLE = "EDGEMILL_KUBEFLOW_TOKEN"
_TIMEOUT_SECONDS = 30
_PAGE = 100
# From the API's filter.proto.
_EQUALS = 1


@dataclass(frozen=True)
class Endpoint:
    """The address of an API without a trailing slash, and its bearer token, if any."""

    url: str
    token: str | None = field(repr=False, default=None)

    def probe(self) -> None:
        """Check once that the API responds. The client itself tries five times, and logs the responses.

        Raises a ClusterError if nothing or a different service responds, or if the credentials are refused.
        """
        request = urllib.request.Request(f"{self.url}/apis/v2beta1/healthz")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refused("connecting", error.code, "") from None
        except json.JSONDecodeError:
            # Most likely a sign-in page.
            raise ClusterError(
                "the server is not a Kubeflow Pipelines API",
                where=self.url,
                bound="JSON from /apis/v2beta1/healthz",
                remedy=f"correct `kubeflow.endpoint`; if the server shows a sign-in page, set {TOKEN_VARIABLE}",
            ) from None
        except OSError as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ClusterError(
                f"the cluster cannot be reached: {reason}",
                where=self.url,
                remedy="check the address, the network, and that the API is running; nothing was submitted",
            ) from None

    @contextlib.contextmanager
    def errors_explained(self, doing: str) -> Iterator[None]:
        """Raise the client's errors as ClusterErrors that say what was attempted, and suppress its output."""
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except ApiException as error:
            raise self._refused(doing, error.status, _message(error.body)) from None
        except HTTPError as error:
            raise ClusterError(
                f"{doing}: the cluster no longer responds ({type(error).__name__})",
                where=self.url,
                remedy="check the network, and submit again: finished uploads are not repeated",
            ) from None
        except ValueError as error:
            raise ClusterError(
                f"{doing}: {self._without_token(str(error))}",
                where=self.url,
                remedy="look for duplicates on the cluster's pages",
            ) from None

    def _refused(self, doing: str, status: int | None, message: str) -> ClusterError:
        if status in {401, 403}:
            # Leave out the server's message, because it can contain the credentials.
            return ClusterError(
                f"{doing}: the cluster refused the credentials",
                where=self.url,
                measured=f"HTTP status {status}",
                remedy=f"set {TOKEN_VARIABLE} to a valid token of an account with access to the namespace",
            )
        fixes = {
            404: "check `kubeflow.endpoint`, the pipeline, the experiment, and the namespace",
            409: "another client is creating the same object; check the cluster's pages, then submit again",
        }
        reason = f": {self._without_token(message)}" if message else ""
        return ClusterError(
            f"{doing}: the cluster refused{reason}",
            where=self.url,
            measured=f"HTTP status {status}",
            remedy=fixes.get(status or 0, "fix the error in the message; see the cluster's log for details"),
        )

    def _without_token(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text


def _message(body: object) -> str:
    """The message of a failed call: `message` or `error` of a google.rpc.Status."""
    try:
        answer = json.loads(body if isinstance(body, str | bytes) else "")
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    return " ".join(str(answer.get("message") or answer.get("error") or "").split())[:500]


class Submitted(FrozenModel):
    """The result of a submission: the pipeline and its version, whose name contains a digest of the compiled file.

    Attributes:
        new_version: Whether the version is new on the cluster.
        run_id, recurring_run_id: IDs of the started run and of the created schedule, if any.
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
    """A Kubeflow Pipelines API at the environment's `endpoint`.

    By default, the bearer token comes from `EDGEMILL_KUBEFLOW_TOKEN`. If neither is set, no token is sent.

    Raises:
        SpecError: The environment has no endpoint.
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
            if new:
                known = self._client.upload_pipeline_version(str(path), version, pipeline_id=pipeline_id)
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
        """Create a recurring run of a version, which skips missed runs. Raises a SpecError if the name is in use."""
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
        arguments = {"namespace": self._environment.namespace, "filter": wanted}
        pipelines = self._pages(self._client.list_pipelines, "pipelines", **arguments)
        return next((str(pipeline.pipeline_id) for pipeline in pipelines), None)

    def _new_pipeline(self, name: str) -> str:
        # An upload would also create a version with the name of the pipeline, which would not be found again.
        from kfp_server_api import V2beta1Pipeline

        asked = V2beta1Pipeline(display_name=name, namespace=self._environment.namespace)
        return str(self._client.pipelines.pipeline_service_create_pipeline(asked).pipeline_id)

    def _version(self, pipeline_id: str, name: str) -> Any:
        versions = self._pages(self._client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id)
        return next((version for version in versions if version.display_name == name), None)

    def _scheduled(self, name: str) -> str | None:
        # Search all experiments, because pages and logs identify schedules only by name.
        namespace = self._environment.namespace
        runs = self._pages(self._client.list_recurring_runs, "recurring_runs", namespace=namespace)
        return next((str(run.recurring_run_id) for run in runs if run.display_name == name), None)

    @staticmethod
    def _pages(ask: Any, field: str, **arguments: Any) -> Iterator[Any]:
        token = ""
        while True:
            answer = ask(page_token=token, page_size=_PAGE, **arguments)
            yield from getattr(answer, field) or ()
            token = answer.next_page_token
            if not token:
                return
