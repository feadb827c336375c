"""Runs the results page in this process, until it is interrupted."""

from __future__ import annotations

import logging
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import typer

from components.core.errors import SpecError
from components.core.files import described
from edgemill.contract import print_json
from edgemill.serve.app import create_app
from pipelines.file.environment import environment

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def serve(root: Path | None, host: str, port: int, *, as_json: bool) -> None:
    """Serve the results page of a root, and print its address first, as text or JSON.

    Raises:
        SpecError: There is no such root, or the address cannot be used.
    """
    place = environment(root, None).root
    if not place.is_dir():
        raise SpecError(
            "there is no such folder",
            where=f"--root {place}",
            bound="a root that `edgemill run` wrote",
            measured=described(place),
            remedy="set the --root that the runs used, or create the folder if nothing has run yet",
        )
    with closing(listen(host, port)) as listener:
        server = make_server(place, host, listener)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}/"
        if as_json:
            print_json({"url": address, "root": place}, now=True)
        else:
            typer.echo(f"{address} shows the runs of {place}; press Ctrl-C to stop")
        if host not in LOOPBACK:
            typer.echo("Anyone who can reach this address can read the results: there is no login.", err=as_json)
        # Returns when Ctrl-C interrupts it.
        server.serve_forever()


def listen(host: str, port: int) -> socket.socket:
    """Open the address, because the server would end the process if it were in use.

    Raises:
        SpecError: The address cannot be used.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise SpecError(
            "the results page cannot listen on this address",
            where=f"--host {host} --port {port}",
            measured=getattr(error, "strerror", None) or str(error),
            remedy="set another --port, or 0 for any free one; or omit --host to listen on this machine only",
        ) from error


def make_server(root: Path, host: str, listener: socket.socket) -> Any:
    """Create the server on an open address."""
    from werkzeug import serving

    # A line for each request isn't useful to readers of results.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_app(root, loopback=host in LOOPBACK)
    # A browser opens connections before it uses them, which would block a server without threads.
    return serving.make_server(host, listener.getsockname()[1], app, threaded=True, fd=listener.fileno())
