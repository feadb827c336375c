"""Hosts of OCI registries. Imported on devices, so it needs only the standard library."""

from __future__ import annotations

import os
import re

# Hosts to connect to without TLS, with their ports and separated by commas, like Docker's `insecure-registries`.
HTTP_VARIABLE = "EDGEMILL_OCI_HTTP_HOSTS"
ADDRESS_PREFIX = "oci://"
_PARAMETER = re.compile(r'([a-z]+)="([^"]*)"')


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return name in {"localhost", "[::1]"} or re.fullmatch(r"127(\.\d+){3}", name) is not None


def base_url(host: str) -> str:
    """Return the URL of a registry: HTTPS, unless it is this machine or the environment selects HTTP."""
    asked = {one.strip() for one in os.environ.get(HTTP_VARIABLE, "").split(",")}
    return f"{'http' if is_loopback(host) or host in asked else 'https'}://{host}"


def split_address(address: str) -> tuple[str, str]:
    """Return the host and the repository of an address `oci://HOST/REPOSITORY`."""
    host, _, name = address.removeprefix(ADDRESS_PREFIX).strip("/").partition("/")
    return host, name


def challenge_parameters(challenge: str) -> tuple[str, dict[str, str]]:
    """Return the scheme of a `WWW-Authenticate` header in lowercase, and its parameters."""
    scheme, _, rest = challenge.partition(" ")
    return scheme.lower(), dict(_PARAMETER.findall(rest))
