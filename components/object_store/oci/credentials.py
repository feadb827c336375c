"""Credentials of OCI registries, from the files that Docker, Podman, and skopeo write. Messages never contain them."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from components.core.errors import StorageError

# The content of a configuration file, as CI systems pass it.
CONTENT_VARIABLE = "DOCKER_AUTH_CONFIG"
_HELPER_SECONDS = 30
# The user name that a helper returns for an identity token.
_TOKEN_USER = "<token>"


class Credentials(NamedTuple):
    """A user and a password, or an identity token, which is exchanged for an access token."""

    user: str
    password: str
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(***)"


def credentials_for(host: str) -> Credentials | None:
    """Return the credentials for a registry; None if there are none, in which case requests are anonymous.

    Raises:
        StorageError: A configuration can't be read, or its credential helper fails.
    """
    for place, config in _configurations():
        helper = _mapping(config, "credHelpers").get(host) or config.get("credsStore")
        if helper and (found := _from_helper(str(helper), host, place)) is not None:
            return found
        auths = _mapping(config, "auths")
        entry = next((auths[name] for name in (host, f"https://{host}", f"https://{host}/v2/") if name in auths), None)
        if isinstance(entry, Mapping) and (found := _from_entry(entry, place)) is not None:
            return found
    return None


def _configurations() -> Iterator[tuple[str, Mapping[str, Any]]]:
    if content := os.environ.get(CONTENT_VARIABLE):
        yield CONTENT_VARIABLE, _parsed(content, CONTENT_VARIABLE)
    folder = os.environ.get("DOCKER_CONFIG")
    places = [os.environ.get("REGISTRY_AUTH_FILE"), str(Path(folder or "~/.docker", "config.json").expanduser())]
    for place in filter(None, places):
        try:
            content = Path(place).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(place, type(error).__name__) from None
        yield place, _parsed(content, place)


def _parsed(content: str, place: str) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        raise _unreadable(place, "not JSON") from None
    if not isinstance(found, Mapping):
        raise _unreadable(place, "JSON, but not an object")
    return found


def _mapping(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _from_entry(entry: Mapping[str, Any], place: str) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    if encoded := entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(encoded), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _unreadable(place, "an `auth` that is not Base64") from None
        if colon:
            return Credentials(user, password.rstrip("\0"), token)
    if token or "username" in entry:
        return Credentials(str(entry.get("username") or ""), str(entry.get("password") or ""), token)
    return None


def _from_helper(helper: str, host: str, place: str) -> Credentials | None:
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=host,
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unreadable(place, f"docker-credential-{helper}: {type(error).__name__}") from None
    if done.returncode:
        if "credentials not found" in done.stdout + done.stderr:
            return None
        raise _unreadable(place, f"docker-credential-{helper} ended with status {done.returncode}")
    found = _parsed(done.stdout, f"docker-credential-{helper}")
    user, secret = str(found.get("Username", "")), str(found.get("Secret", ""))
    return Credentials("", "", secret) if user == _TOKEN_USER else Credentials(user, secret)


def _unreadable(place: str, found: str) -> StorageError:
    # Without the content and without a cause, because they could contain a secret.
    return StorageError(
        "the credentials of the registry cannot be read",
        where=place,
        measured=found,
        remedy="sign in again (`docker login`, `podman login`, or `skopeo login`), or correct the file",
    )
