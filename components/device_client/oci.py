"""Reading from an OCI registry: the URLs of its blobs and manifests, and signing in. Nothing here is trusted."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode, urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError

from components.core.errors import StorageError
from components.device_client.network import Answer, Network
from components.object_store.oci.credentials import Credentials, credentials_for
from components.object_store.oci.hosts import base_url, challenge_parameters, split_address
from components.trust.names import FOLDER, OCI_REPOSITORY, tag_of

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_LONGEST_ANSWER = 100_000
_UNAUTHORIZED = 401
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The characters that an HTTP header can contain.
_TOKEN = re.compile(r"[!-~]+")


class OciReader:
    """The registry `oci://HOST/PREFIX` of a device. See `components.device_client.readers.Reader`.

    Args:
        url: Its address.
        network: Connections.
    """

    def __init__(self, url: str, network: Network) -> None:
        self._network = network
        self._url = url.rstrip("/")
        self._host, self._prefix = split_address(url)
        self._authorization: dict[str, str] = {}

    def is_metadata(self, url: str) -> bool:
        """Whether a URL that The Update Framework's client requests is for metadata."""
        return url.startswith(f"{self._url}/{FOLDER}/")

    def metadata(self, url: str) -> Iterator[bytes]:
        """Yield a file of the metadata: the only layer of a tagged artifact."""
        tag = tag_of(url.removeprefix(f"{self._url}/{FOLDER}/"))
        repository = f"{self._prefix}/{OCI_REPOSITORY}"
        artifact = self._get(repository, f"manifests/{tag}", {"Accept": _MANIFEST_TYPE}).content(_LONGEST_ANSWER)
        yield from self._get(repository, f"blobs/{_only_layer(artifact, tag)}", {}).chunks()

    def file(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Request a file of a release. The answer can have any status."""
        repository, _, digest = url.removeprefix(f"{self._url}/").partition("/blobs/")
        return self._ask(f"{self._prefix}/{repository}", f"blobs/{digest}", headers)

    def path_of(self, place: str, version: str, file: str, sha256: str) -> str:  # noqa: ARG002
        """The path of a release's file below the registry's root. Blobs are named by their digest."""
        return f"{place}/blobs/sha256:{sha256}"

    def _get(self, repository: str, path: str, headers: Mapping[str, str]) -> Answer:
        return self._ask(repository, path, headers).succeeded()

    def _ask(self, repository: str, path: str, headers: Mapping[str, str]) -> Answer:
        url = f"{base_url(self._host)}/v2/{repository}/{path}"
        known = self._authorization.get(repository)
        answer = self._network.get(url, {**headers, **({"Authorization": known} if known else {})})
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status == _UNAUTHORIZED and challenge:
            answer.close()
            if (found := self._answer_to(challenge)) is not None:
                self._authorization[repository] = found
                headers = {**headers, "Authorization": found}
            answer = self._network.get(url, headers)
        return answer

    def _answer_to(self, challenge: str) -> str | None:
        try:
            credentials = credentials_for(self._host)
        except StorageError as error:
            raise OSError(str(error)) from None
        scheme, parameters = challenge_parameters(challenge)
        if scheme == "basic":
            return None if credentials is None else _basic(credentials)
        realm = parameters.get("realm", "")
        try:
            secure = ("https://", f"{base_url(urlsplit(realm).netloc)}/")
        except ValueError as error:
            raise DownloadError("the registry gives no address for signing in") from error
        if scheme != "bearer" or not realm.startswith(secure):
            raise OSError(f"the registry asks for an unsupported way to sign in: {scheme[:20]} {realm[:80]}")
        fields = {name: value for name, value in parameters.items() if name in {"service", "scope"}}
        if credentials is not None and credentials.identity_token:
            form = {**fields, "grant_type": "refresh_token", "refresh_token": credentials.identity_token}
            answer = self._network.post(realm, {**form, "client_id": "edgemill"})
        else:
            signed_in = {"Authorization": _basic(credentials)} if credentials is not None and credentials.user else {}
            answer = self._network.get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}", signed_in)
        if answer.status != 200:
            answer.close()
            raise DownloadHTTPError(f"the token server answered with status {answer.status}", answer.status)
        return f"Bearer {_token(answer.content(_LONGEST_ANSWER))}"


def _token(content: bytes) -> str:
    try:
        found = json.loads(content)
        token = str(found.get("token") or found["access_token"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        token = ""
    if not _TOKEN.fullmatch(token):
        raise DownloadError("the token server's answer is not a token")
    return token


def _only_layer(artifact: bytes, tag: str) -> str:
    try:
        (layer,) = json.loads(artifact)["layers"]
        digest = str(layer["digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        digest = ""
    if not _DIGEST.fullmatch(digest):
        raise RepositoryError(f"the artifact {tag} doesn't contain signed metadata")
    return digest


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
