"""Checks that Beam's job service is reachable. Beam itself reports only a timeout, after a minute."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from components.core.errors import ClusterError, SpecError

_OPTION = "--job_endpoint="
# With this value, the portable runner starts its own job service.
_EMBEDDED = "embed"
_SECONDS = 5.0


def check_job_service(beam_args: Iterable[str]) -> None:
    """Check that the job service in the Beam arguments accepts connections. The last `--job_endpoint` is used.

    Raises:
        SpecError: The endpoint isn't HOST:PORT.
        ClusterError: The service doesn't accept a connection within five seconds.
    """
    endpoints = [argument.removeprefix(_OPTION) for argument in beam_args if argument.startswith(_OPTION)]
    if not endpoints or endpoints[-1] == _EMBEDDED:
        return
    host, separator, port = endpoints[-1].rpartition(":")
    if not (host and separator and port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise SpecError(
            "this is not the address of a Beam job service",
            where="--beam-arg --job_endpoint",
            bound="HOST:PORT, or embed",
            measured=endpoints[-1],
            remedy="specify host and port, as in localhost:8099",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            "Beam's job service does not answer",
            where=f"--job_endpoint={endpoints[-1]}",
            bound=f"a connection within {_SECONDS:g} s",
            measured=error.strerror or str(error) or type(error).__name__,
            remedy="start the job service, or correct host and port. Nothing ran",
        ) from error
