"""Talking to a Kubeflow Pipelines API: whether it is there, and its refusals in words without secrets."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.core.errors import ClusterError

# A bearer token never stands in a file or on a command line.
TOKEN_VARIABLE = "EDGEMILL_KUBEFLOW_TOKEN"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Endpoint:
    """An address, and how one signs in there.

    Attributes:
        url: Without a slash at its end.
        token: A bearer token; None sends none.
    """

    url: str
    token: str | None = field(repr=False, default=None)

    def probe(self) -> None:
        """Ask once whether somebody is there: the client itself asks five times, and logs what it gets.

        Raises:
            ClusterError: Nobody is, or somebody else, or the credentials are refused.
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
            # A page to sign in, most likely.
            raise ClusterError(
                "what answers is no Kubeflow Pipelines API",
                where=self.url,
                bound="JSON from /apis/v2beta1/healthz",
                remedy=f"correct `kubeflow.endpoint`; if a page asks to sign in, set {TOKEN_VARIABLE}",
            ) from None
        except OSError as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ClusterError(
                f"the cluster cannot be reached: {reason}",
                where=self.url,
                remedy="check the address, the network, and that the API runs; nothing was submitted",
            ) from None

    @contextlib.contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """The client's errors as ClusterErrors, without what it prints.

        Args:
            doing: What is tried, for the message.
        """
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
                where=self.url,
                remedy="check the network, and submit again: what was uploaded is not uploaded twice",
            ) from None
        except ValueError as error:
            raise ClusterError(
                f"{doing}: {self._without_token(str(error))}",
                where=self.url,
                remedy="look at the cluster's pages for what is there twice",
            ) from None

    def _refused(self, doing: str, status: int | None, message: str) -> ClusterError:
        if status in {401, 403}:
            # Nothing that the server says is repeated: it may repeat the credentials.
            return ClusterError(
                f"{doing}: the cluster takes no such credentials",
                where=self.url,
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
            where=self.url,
            measured=f"HTTP status {status}",
            remedy=remedies.get(status or 0, "fix what the message says; the cluster's log has more"),
        )

    def _without_token(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text


def _message(body: object) -> str:
    """What a failed call says: `message`, or `error`, of a google.rpc.Status."""
    try:
        answer = json.loads(body if isinstance(body, str | bytes) else "")
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    return " ".join(str(answer.get("message") or answer.get("error") or "").split())[:500]
