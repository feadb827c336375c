"""The compiled nodes that push and look up champions, each in a container of the image.

`make containers` runs it after it has built the image. The other nodes run in this process. A container gets its
secrets as folders that it can't write, at the paths of the compiled file, and reaches the registries by the network of
this machine. It shares nothing else with other containers but what the launcher stages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.kubeflow import test_launcher
from tests.kubeflow.test_launcher import (  # noqa: F401
    Registries,
    registries,
    test_push_and_champion_reach_signed_registries_in_every_kind_of_store_without_a_volume,
    test_registry_of_several_that_is_away_is_named_and_no_channel_changes,
    whole,
)

IMAGE = os.environ.get("EDGEMILL_TEST_IMAGE", "edgemill:test")
IN_CONTAINERS = ("push-", "champion-phone")

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="there is no Docker")


def in_a_container(command: list[str], env: Mapping[str, str]) -> int:
    """Run a node of a registry in a container, and the other nodes in this process."""
    place = Path(env["EDGEMILL_STAGING_PREFIX"])
    if not place.name.startswith(IN_CONTAINERS):
        return test_launcher.in_this_process(command, env)
    # The container's user is another than this one. Secrets keep their mode.
    place.chmod(0o777)
    staged = [str(one) for one in place.iterdir() if one.name != "etc"]
    subprocess.run(["chmod", "--recursive", "a+rwX", *staged], check=True)
    mounts = [f"{place}:{place}", *(f"{folder}:/etc/{folder.name}:ro" for folder in (place / "etc").glob("*"))]
    seen = {name: value.replace(f"{place}/etc/", "/etc/") for name, value in env.items()}
    words = ["docker", "run", "--rm", "--network", "host"]
    for mount in mounts:
        words += ["--volume", mount]
    for name in seen:
        words += ["--env", name]
    ended = subprocess.run([*words, IMAGE, *command], env={**os.environ, **seen}, check=False)
    return ended.returncode


@pytest.fixture(autouse=True, scope="module")
def containers(registries: Registries) -> Iterator[None]:  # noqa: F811
    """Run the nodes of these tests in containers."""
    registries.launcher.run_command = in_a_container
    yield
