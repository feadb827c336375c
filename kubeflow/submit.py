"""A compiled pipeline onto a cluster, through the client of Kubeflow Pipelines: versions, runs, schedules."""

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
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from components.errors import ClusterError, SpecError
from components.files import sha256_of_bytes
from components.values import Value
from kubeflow.compile import Compiled
from kubeflow.cron import Cron
from kubeflow.environment import KubeflowEnvironment

# A bearer token never stands in a file or on a command line.
TOKEN_VARIABLE = "EDGEMILL_KUBEFLOW_TOKEN"
_TIMEOUT_SECONDS = 30
_PAGE = 100


class Submitted(Value):
    """What the cluster has now.

    Attributes:
        pipeline_id, version_id: The pipeline and the version of it.
        version: The version's name; it holds a digest of the compiled file.
        new_version: Whether the cluster did not have it before.
        run_id: The run that was started; None without one.
        recurring_run_id: The schedule that was made; None without one.
        link: Page of the run, of the schedule, or of the pipeline.
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
        environment: Its `endpoint`, `namespace` and `experiment`.
        token: A bearer token; None takes `EDGEMILL_KUBEFLOW_TOKEN`, and without that none is sent.

    Raises:
        SpecError: The environment names no endpoint.
        ClusterError: It cannot be reached, or takes no such credentials. The message holds neither token nor password.
    """

    def __init__(self, environment: KubeflowEnvironment, token: str | None = None) -> None:
        if environment.endpoint is None:
            raise SpecError(
                "the environment file names no cluster to submit to",
                where="kubeflow.endpoint",
                bound="the address of the Kubeflow Pipelines API, as in https://kubeflow.example.org/pipeline",
                remedy="add it",
            )
        self._environment = environment
        self._endpoint = environment.endpoint.rstrip("/")
        self._token = token or os.environ.get(TOKEN_VARIABLE) or None
        self._probe()
        with warnings.catch_warnings(), self._told("connecting"):
            warnings.simplefilter("ignore")
            from kfp.client import Client

            self._client = Client(
                host=self._endpoint, existing_token=self._token, namespace=environment.namespace or "kubeflow"
            )

    def submit(self, compiled: Compiled) -> Submitted:
        """Upload a compiled pipeline: as a new one, as a new version, or not at all if the cluster has the version."""
        text = compiled.to_yaml()
        version = f"{compiled.name}-{sha256_of_bytes(text.encode())[:12]}"
        with tempfile.TemporaryDirectory() as folder, self._told(f"uploading {compiled.name}"):
            path = Path(folder, "pipeline.yaml")
            path.write_text(text)
            pipeline_id = self._client.get_pipeline_id(compiled.name) or self._new_pipeline(compiled.name)
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
            link=f"{self._endpoint}/#/pipelines/details/{pipeline_id}/version/{version_id}",
        )

    def run(self, submitted: Submitted, name: str) -> Submitted:
        """Start a run of a version."""
        with self._told(f"starting {name}"):
            started = self._client.run_pipeline(
                experiment_id=self._experiment(),
                job_name=f"{name} {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}",
                pipeline_id=submitted.pipeline_id,
                version_id=submitted.version_id,
                pipeline_root=self._environment.pipeline_root,
            )
        link = f"{self._endpoint}/#/runs/details/{started.run_id}"
        return submitted.model_copy(update={"run_id": str(started.run_id), "link": link})

    def schedule(self, submitted: Submitted, name: str, cron: Cron) -> Submitted:
        """Have the cluster run a version now and then; turns that were missed are not caught up.

        Raises:
            SpecError: There is a schedule of that name.
        """
        with self._told(f"scheduling {name}"):
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
                f"there is a schedule called {name!r} already",
                where=f"--name {name}",
                bound="one schedule of a name",
                measured=f"recurring run {same}",
                remedy="give this one another --name, or delete the other on the cluster's pages",
            )
        link = f"{self._endpoint}/#/recurringrun/details/{made.recurring_run_id}"
        return submitted.model_copy(update={"recurring_run_id": str(made.recurring_run_id), "link": link})

    def _experiment(self) -> str:
        found = self._client.create_experiment(self._environment.experiment, namespace=self._environment.namespace)
        return str(found.experiment_id)

    def _new_pipeline(self, name: str) -> str:
        # Not by upload: the version that comes with it would be called like the pipeline, and not be found again.
        from kfp_server_api import V2beta1Pipeline

        asked = V2beta1Pipeline(display_name=name, namespace=self._environment.namespace)
        return str(self._client.pipelines.pipeline_service_create_pipeline(body=asked).pipeline_id)

    def _version(self, pipeline_id: str, name: str) -> Any:
        versions = self._pages(lambda page: self._client.list_pipeline_versions(
            pipeline_id, page_token=page, page_size=_PAGE), "pipeline_versions")  # fmt: skip
        return next((version for version in versions if version.display_name == name), None)

    def _scheduled(self, name: str) -> str | None:
        # In all experiments: pages and logs tell schedules apart by their names alone.
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

    def _probe(self) -> None:
        """Ask once whether somebody is there: the client itself asks five times, and logs what it gets."""
        request = urllib.request.Request(f"{self._endpoint}/apis/v2beta1/healthz")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refused("connecting", error.code, "") from None
        except json.JSONDecodeError:
            # A page to sign in, most likely.
            raise ClusterError(
                "what answers is no Kubeflow Pipelines API",
                where=self._endpoint,
                bound="JSON from /apis/v2beta1/healthz",
                remedy=f"correct `kubeflow.endpoint`; if a page asks to sign in, set {TOKEN_VARIABLE}",
            ) from None
        except OSError as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ClusterError(
                f"the cluster cannot be reached: {reason}",
                where=self._endpoint,
                remedy="check the address, the network, and that the API runs; nothing was submitted",
            ) from None

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """The client's errors as ours, without what it prints."""
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except ApiException as error:
            raise self._refused(doing, error.status, _message(error.body)) from None
        except HTTPError as error:
            raise ClusterError(
                f"{doing}: the cluster does not answer any more ({type(error).__name__})",
                where=self._endpoint,
                remedy="check the network, and submit again: what was uploaded is not uploaded twice",
            ) from None
        except ValueError as error:
            raise ClusterError(
                f"{doing}: {self._without_token(str(error))}",
                where=self._endpoint,
                remedy="look at the cluster's pages for what is there twice",
            ) from None

    def _refused(self, doing: str, status: int | None, message: str) -> ClusterError:
        if status in {401, 403}:
            # Nothing that the server says is repeated: it may repeat the credentials.
            return ClusterError(
                f"{doing}: the cluster takes no such credentials",
                where=self._endpoint,
                measured=f"HTTP status {status}",
                remedy=f"set {TOKEN_VARIABLE} to a valid token of somebody who may use the namespace",
            )
        remedies = {
            404: "check `kubeflow.endpoint` and what it names: pipeline, experiment, namespace",
            409: "somebody else makes the same thing now; look at the cluster's pages, then submit again",
        }
        said = f": {self._without_token(message)}" if message else ""
        return ClusterError(
            f"{doing}: the cluster refused{said}",
            where=self._endpoint,
            measured=f"HTTP status {status}",
            remedy=remedies.get(status or 0, "mend what the message says; the cluster's own log tells more"),
        )

    def _without_token(self, text: str) -> str:
        return text.replace(self._token, "***") if self._token else text


def _message(body: object) -> str:
    """What a failed call says: `message`, or `error`, of a google.rpc.Status."""
    try:
        answer = json.loads(body if isinstance(body, str | bytes) else "")
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    return " ".join(str(answer.get("message") or answer.get("error") or "").split())[:500]
