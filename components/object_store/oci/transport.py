"""Requests to an OCI registry: signing in, retries, and explanations of refusals."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase

from components.core.errors import StorageError
from components.object_store.bucket import DeniedError, NoCredentialsError, RefusedError, full, says_full
from components.object_store.limits import LONGEST_DOCUMENT, BoundedBody, too_long
from components.object_store.oci.credentials import Credentials, credentials_for
from components.object_store.oci.hosts import HTTP_VARIABLE, base_url, challenge_parameters

ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
_TIMEOUT_SECONDS = (10, 60)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 401, 403, 404, 429, 500
_LONGEST_REASON = 4_096
_CODE = re.compile(r"[A-Z][A-Z0-9_ ]{1,60}")


class _Header(AuthBase):
    """An Authorization header. It also keeps `requests` from taking one from ~/.netrc."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


class Transport:
    """A session with one repository of a registry."""

    def __init__(self, host: str, name: str) -> None:
        self._host, self._name = host, name
        self._url = base_url(host)
        self._session = requests.Session()
        self._session.hooks["response"].append(_bound(LONGEST_DOCUMENT))
        self._credentials: Credentials | None = None
        self._authorization: str | None = None

    @property
    def place(self) -> str:
        """The name of the repository in messages."""
        return f"oci://{self._host}/{self._name}"

    def send(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...],
        attempts: int | None = None,
        most: int | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send a request, and repeat it if the registry doesn't answer or fails.

        Args:
            method: The HTTP method.
            path: A path below the repository, or a URL that the registry returned.
            expected: Statuses that are returned. 404 raises a FileNotFoundError if it isn't among them.
            attempts: 1 if a retry isn't the same request; otherwise `ATTEMPTS`.
            most: Maximum number of bytes of an answer; by default, the limit of a document.
            options: Arguments of `requests`.

        Raises:
            StorageError: The registry can't be reached, refuses, or fails.
            FileNotFoundError: There is no such content.
            TooLongError: The answer has more than `most` bytes.
        """
        if most is not None:
            options["hooks"] = {"response": _bound(most)}
        attempts = attempts or ATTEMPTS
        url = urljoin(f"{self._url}/v2/{self._name}/", path)
        for attempt in range(1, attempts + 1):
            try:
                answer = self._signed_in(method, url, **options)
            except requests.RequestException as error:
                if attempt == attempts:
                    raise self._unreachable(error) from None
            else:
                if answer.status_code in expected:
                    return answer
                fails = answer.status_code >= _SERVER_ERROR or answer.status_code == _TOO_MANY
                if not fails or _is_full(answer) or attempt == attempts:
                    raise self._refused(answer)
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
        raise AssertionError(attempts)

    def _signed_in(self, method: str, url: str, **options: Any) -> requests.Response:
        answer = self._ask(method, url, **options)
        if answer.status_code == _UNAUTHORIZED and (challenge := answer.headers.get("WWW-Authenticate")):
            # The first such answer says how to sign in. A later one can mean that the token has expired.
            self._authorization = self._answer_to(challenge)
            answer = self._ask(method, url, **options)
        return answer

    def _ask(self, method: str, url: str, **options: Any) -> requests.Response:
        # A registry can send uploads to another host, which must not get its credentials.
        own = urlsplit(url).netloc == self._host and (url.startswith("https://") or self._url.startswith("http://"))
        authorization = self._authorization if own else None
        return self._session.request(method, url, auth=_Header(authorization), timeout=_TIMEOUT_SECONDS, **options)

    def _answer_to(self, challenge: str) -> str | None:
        self._credentials = credentials_for(self._host)
        scheme, parameters = challenge_parameters(challenge)
        if scheme == "basic":
            return None if self._credentials is None else _basic(self._credentials)
        if scheme != "bearer":
            raise StorageError(
                "the registry asks for an unsupported way to sign in",
                where=self.place,
                bound="Basic or Bearer",
                measured=scheme[:20],
                remedy="use a registry with one of them",
            )
        return f"Bearer {self._token(parameters)}"

    def _token(self, parameters: Mapping[str, str]) -> str:
        realm = parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and base_url(parts.netloc).startswith("http:")):
            raise StorageError(
                "the registry sends credentials to a server without TLS",
                where=self.place,
                bound="a token server at https://",
                measured=f"{parts.scheme}://{parts.netloc}",
                remedy=f"correct the registry's configuration, or specify the server's host in {HTTP_VARIABLE}",
            )
        asked = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        known = self._credentials
        if known is not None and known.identity_token:
            form = {
                **asked,
                "grant_type": "refresh_token",
                "refresh_token": known.identity_token,
                "client_id": "edgemill",
            }
            answer = self._session.post(realm, data=form, auth=_Header(None), timeout=_TIMEOUT_SECONDS)
        else:
            header = _Header(None if known is None else _basic(known))
            answer = self._session.get(realm, params=asked, auth=header, timeout=_TIMEOUT_SECONDS)
        if answer.status_code != requests.codes.ok:
            raise self._refused(answer)
        try:
            found = answer.json()
            return str(found.get("token") or found["access_token"])
        except (ValueError, RecursionError, KeyError, AttributeError):
            raise StorageError(
                "the token server of the registry does not return a token",
                where=f"{parts.scheme}://{parts.netloc}",
                remedy="check the registry's configuration",
            ) from None

    def _unreachable(self, error: requests.RequestException) -> StorageError:
        # Without the error's text, which contains the URL of an upload, and therefore its secret state.
        if isinstance(error, requests.exceptions.SSLError):
            return StorageError(
                "the registry's TLS certificate is not accepted, or it does not use TLS",
                where=self.place,
                measured=type(error).__name__,
                remedy=f"set REQUESTS_CA_BUNDLE, or specify the host in {HTTP_VARIABLE} to use HTTP",
            )
        return StorageError(
            "the registry cannot be reached",
            where=self.place,
            measured=f"{type(error).__name__} from {self._url}",
            remedy="check that it is running, and check its address and firewalls; then run again",
        )

    def _refused(self, answer: requests.Response) -> Exception:
        status = answer.status_code
        found = f"{status} {_code_of(answer)}".strip()
        if _is_full(answer):
            return full("the registry", self.place, found)
        if status == _UNAUTHORIZED:
            if self._credentials is None:
                return NoCredentialsError(
                    "the registry asks for credentials, and there are none for it",
                    where=self.place,
                    measured=found,
                    remedy=f"sign in: `docker login {self._host}`, or `skopeo login {self._host}`",
                )
            return StorageError(
                "the registry does not accept the credentials: they are wrong or have expired",
                where=self.place,
                measured=found,
                remedy=f"sign in again: `docker login {self._host}`, or `skopeo login {self._host}`",
            )
        if status == _FORBIDDEN or "DENIED" in found:
            return DeniedError(
                "the registry denies access",
                where=self.place,
                measured=found,
                remedy="grant it to these credentials, or use different ones",
            )
        if status == _NOT_FOUND:
            if "NAME_UNKNOWN" in found or "NAME UNKNOWN" in found:
                return RefusedError(
                    "there is no such repository",
                    where=self.place,
                    measured=found,
                    remedy="create it, or correct the root",
                )
            return FileNotFoundError(f"there is no such content in {self.place}")
        if status >= _SERVER_ERROR or status == _TOO_MANY:
            return StorageError(
                "the registry is currently not working",
                where=self.place,
                measured=f"{found}, in {ATTEMPTS} attempts",
                remedy="run again later: finished nodes come from the cache",
            )
        return RefusedError(
            "the registry refuses the request",
            where=self.place,
            measured=found,
            remedy="look up this code in the registry's documentation, and run again",
        )


def _bound(most: int) -> Callable[..., None]:
    """Return a hook for `requests`, which bounds an answer before its body is read."""

    def bound(answer: requests.Response, **options: Any) -> None:  # noqa: ARG001
        # Without the query, which can contain secrets.
        parts = urlsplit(answer.url)
        place = f"oci://{parts.netloc}{parts.path.removeprefix('/v2')}"
        declared = answer.headers.get("Content-Length", "")
        if answer.request.method != "HEAD" and declared.isdecimal() and int(declared) > most:
            answer.close()
            raise too_long(place, most, int(declared))
        answer.raw = BoundedBody(answer.raw, lambda: too_long(place, most), most)

    return bound


def _basic(credentials: Credentials) -> str:
    prepared = requests.Request("GET", "http://localhost", auth=(credentials.user, credentials.password)).prepare()
    return str(prepared.headers["Authorization"])


def _is_full(answer: requests.Response) -> bool:
    return says_full(answer.status_code, answer.content[:_LONGEST_REASON].decode(errors="replace"))


def _code_of(answer: requests.Response) -> str:
    """Return only the code of the registry's error, because the rest of the answer can contain secrets."""
    with contextlib.suppress(ValueError, RecursionError, KeyError, IndexError, TypeError):
        code = str(answer.json()["errors"][0]["code"])
        return code if _CODE.fullmatch(code) else ""
    return ""
