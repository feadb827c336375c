"""Connects to a Kubeflow Pipelines API, and converts its errors into messages without secrets."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.core.errors import ClusterError

# A bearer token is never in a file or on a command line.
TOKEN_VARIABLE = "EDGEMILL_KUBEFLOW_TOKEN"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Endpoint:
    """The address of an API, and its credentials.

    Attributes:
        url: Address without a trailing slash.
        token: Bearer token. None sends no token.
    """

    url: str
    token: str | None = field(repr=False, default=None)

    def probe(self) -> None:
        """Check once that the API responds. The client itself tries five times, and logs the responses.

        Raises:
            ClusterError: Nothing or another service responds, or the credentials are refused.
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
        """Raise the client's errors as ClusterErrors, and suppress its output.

        Args:
            doing: The attempted action, for the message.
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
