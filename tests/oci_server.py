"""Debian's registry of OCI artifacts, as its own process, and its files behind its back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.object_store import free_port

# A registry waits for its disk at each request.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
PROGRAM = shutil.which("docker-registry")


class OciServer:
    """The process, which keeps its files in a folder.

    Attributes:
        host: Its host and port.
    """

    def __init__(self, folder: Path, extra: str = "") -> None:
        self._folder, self._extra = folder, extra
        self.host = f"127.0.0.1:{free_port()}"
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def start(self) -> None:
        assert PROGRAM is not None
        config = self._folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self._folder}/data}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{self.host}', secret: tests}}\n{self._extra}"
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log)
        for _ in range(1000):
            try:
                requests.get(f"{self.url}/v2/", timeout=10)
            except requests.ConnectionError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.01)
            else:
                return
        raise AssertionError("the registry does not start")

    def stop(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        sha256 = digest.removeprefix("sha256:")
        return self._folder / "data/docker/registry/v2/blobs/sha256" / sha256[:2] / sha256 / "data"

    def tags(self, prefix: str) -> dict[str, str]:
        """`repository:tag` -> digest of all repositories below a prefix, as in the files."""
        folder = self._folder / "data/docker/registry/v2/repositories" / prefix
        return {
            f"{link.parents[4].relative_to(folder)}:{link.parent.parent.name}": link.read_text()
            for link in folder.rglob("_manifests/tags/*/current/link")
        }

    def remove_tag(self, prefix: str, reference: str) -> None:
        """Remove the tag of a `repository:tag` below a prefix. Its artifact stays."""
        repository, _, tag = reference.rpartition(":")
        folder = self._folder / "data/docker/registry/v2/repositories" / prefix / repository
        shutil.rmtree(folder / "_manifests/tags" / tag)

    def files(self, prefix: str) -> dict[str, bytes]:
        """`repository/tag/file` -> content of all artifacts below a prefix."""
        found = {}
        for reference, digest in self.tags(prefix).items():
            for layer in json.loads(self.blob(digest).read_bytes())["layers"]:
                if (name := _name_of(layer)) and (path := self.blob(layer["digest"])).exists():
                    found[f"{reference.replace(':', '/')}/{name}"] = path.read_bytes()
        return found

    def layer(self, prefix: str, name: str) -> Path:
        """The file of the blob that is the file `name` (`class/name/tag/file`) of an artifact."""
        *repository, tag, file = name.split("/", maxsplit=3)
        manifest = json.loads(self.blob(self.tags(prefix)[f"{'/'.join(repository)}:{tag}"]).read_bytes())
        named = {_name_of(one): one["digest"] for one in manifest["layers"]}
        return self.blob(named[file])


def _name_of(layer: dict[str, Any]) -> str:
    """The name of a file of a release or of signed metadata; empty for other layers."""
    named = layer.get("annotations", {})
    return str(named.get("org.cncf.model.filepath") or named.get("org.opencontainers.image.title") or "")


@contextmanager
def oci_server(folder: Path, extra: str = "") -> Iterator[OciServer]:
    """An empty registry. `extra` is more of its configuration."""
    if PROGRAM is None:
        pytest.skip("Debian's package docker-registry is not installed")
    server = OciServer(folder, extra)
    try:
        yield server
    finally:
        server.stop()
