"""Reading from an OCI registry: the URLs of its blobs and manifests, and signing in. Nothing here is trusted."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import urllib3
from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError, RepositoryError

from components.core.errors import StorageError
from components.object_store.oci.credentials import Credentials, credentials_for
from components.object_store.oci.hosts import ADDRESS_PREFIX, base_url, challenge_parameters, split_address
from components.trust.names import FOLDER, OCI_REPOSITORY, tag_of

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_LONGEST_ANSWER = 100_000
_UNAUTHORIZED = 401
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_oci(url: str) -> bool:
    """Whether a device's registry is an OCI registry."""
    return url.startswith(ADDRESS_PREFIX)


def blob_path(device_class: str, name: str, sha256: str) -> str:
    """The path of a release's file below the registry's root. Blobs are named by their digest."""
    return f"{device_class}/{name}/blobs/sha256:{sha256}"


class OciReader:
    """The registry `oci://HOST/PREFIX` of a device.

    Args:
        url: Its address.
        pool: Connections.
        timeout_seconds: Time limit for each answer, and between parts of one.
    """

    def __init__(self, url: str, pool: urllib3.PoolManager, timeout_seconds: float) -> None:
        self._pool, self._timeout = pool, urllib3.Timeout(timeout_seconds)
        self._url = url.rstrip("/")
        self._host, self._prefix = split_address(url)
        self._authorization: dict[str, str] = {}

    def is_metadata(self, url: str) -> bool:
        """Whether the URL of The Update Framework's client is that of metadata."""
        return url.startswith(f"{self._url}/{FOLDER}/")

    def metadata(self, url: str) -> Iterator[bytes]:
        """Yield a file of the metadata: the only layer of a tagged artifact."""
        tag = tag_of(url.removeprefix(f"{self._url}/{FOLDER}/"))
        repository = f"{self._prefix}/{OCI_REPOSITORY}"
        answer = self._get(repository, f"manifests/{tag}", {"Accept": _MANIFEST_TYPE})
        answer = self._get(repository, f"blobs/{_only_layer(_short(answer), tag)}", {})
        try:
            yield from answer.stream(_LONGEST_ANSWER)
        finally:
            answer.release_conn()

    def file(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """Ask for a file of a release, at a path of `blob_path`. The answer can have any status."""
        repository, _, digest = url.removeprefix(f"{self._url}/").partition("/blobs/")
        return self._ask(f"{self._prefix}/{repository}", f"blobs/{digest}", headers)

    def _get(self, repository: str, path: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        answer = self._ask(repository, path, headers)
        if answer.status >= 400:
            answer.release_conn()
            raise DownloadHTTPError(f"HTTP error occurred with status {answer.status}", answer.status)
        return answer

    def _ask(self, repository: str, path: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        url = f"{base_url(self._host)}/v2/{repository}/{path}"
        known = self._authorization.get(repository)
        answer = self._send(url, {**headers, **({"Authorization": known} if known else {})})
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status == _UNAUTHORIZED and challenge:
            answer.drain_conn()
            answer.release_conn()
            if (found := self._answer_to(challenge)) is not None:
                self._authorization[repository] = found
                headers = {**headers, "Authorization": found}
            answer = self._send(url, headers)
        return answer

    def _send(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        # A redirect to another host loses the header with the credentials.
        asked = {"User-Agent": "edgemill-device", **headers}
        return self._pool.request("GET", url, headers=asked, preload_content=False, timeout=self._timeout)

    def _answer_to(self, challenge: str) -> str | None:
        try:
            credentials = credentials_for(self._host)
        except StorageError as error:
            raise OSError(str(error)) from None
        scheme, parameters = challenge_parameters(challenge)
        if scheme == "basic":
            return None if credentials is None else _basic(credentials)
        realm = parameters.get("realm", "")
        secure = ("https://", f"{base_url(urlsplit(realm).netloc)}/")
        if scheme != "bearer" or not realm.startswith(secure):
            raise OSError(f"the registry asks to sign in in a way that is not supported: {scheme[:20]} {realm[:80]}")
        fields: dict[str, Any] = {name: parameters[name] for name in ("service", "scope") if name in parameters}
        headers: dict[str, str] = {}
        if credentials is not None and credentials.user:
            headers["Authorization"] = _basic(credentials)
        if credentials is not None and credentials.identity_token:
            form = {**fields, "grant_type": "refresh_token", "refresh_token": credentials.identity_token}
            answer = self._pool.request(
                "POST", realm, fields={**form, "client_id": "edgemill"}, encode_multipart=False, timeout=self._timeout
            )
        else:
            answer = self._pool.request("GET", realm, fields=fields, headers=headers, timeout=self._timeout)
        if answer.status != 200:
            raise DownloadHTTPError(f"the token server answered with status {answer.status}", answer.status)
        found: dict[str, Any] = answer.json()
        return f"Bearer {found.get('token') or found['access_token']}"


def _short(answer: urllib3.BaseHTTPResponse) -> bytes:
    content = answer.read(_LONGEST_ANSWER + 1)
    answer.release_conn()
    if len(content) > _LONGEST_ANSWER:
        raise DownloadLengthMismatchError(f"a manifest has more than {_LONGEST_ANSWER} bytes")
    return content


def _only_layer(artifact: bytes, tag: str) -> str:
    try:
        (layer,) = json.loads(artifact)["layers"]
        digest = str(layer["digest"])
    except (ValueError, KeyError, TypeError):
        digest = ""
    if not _DIGEST.fullmatch(digest):
        raise RepositoryError(f"the artifact {tag} isn't one of signed metadata")
    return digest


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
