"""The secret that docs/kubeflow.md creates holds what a push to a signed registry needs."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from unittest import mock

import yaml
from typer.testing import CliRunner

from components.push.several import publish
from components.spec.registry import LocalRegistry
from components.trust.keys import VARIABLE
from edgemill.main import app
from kubeflow.environment import EnvironmentFile
from kubeflow.spec import platform
from tests.components.push.places import MODEL, manifest_of
from tests.kubeflow.launcher import project

SECTION = Path("docs/kubeflow.md").read_text().partition("## Registries")[2].partition("\n## ")[0]
(ENVIRONMENT,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)


def test_secret_of_the_page_signs_a_push_and_holds_neither_the_root_nor_targets(tmp_path: Path) -> None:
    init, _, delegate, create = COMMANDS.replace("\\\n", " ").strip().splitlines()
    registry, keys = str(tmp_path / "registry"), tmp_path / "registry-keys"
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        for command in (init, delegate):
            words = shlex.split(command.replace("s3://bucket/registry", registry).replace("registry-keys", str(keys)))
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, done.output
    _, _, _, _, secret, *files = shlex.split(create)
    paths = [tmp_path / one.removeprefix("--from-file=") for one in files]
    assert not {path.name for path in paths} & {"targets.pem", "root-1.pem", "root-2.pem", "root-3.pem"}
    project({path.name: path.read_bytes() for path in paths}, tmp_path / "mounted")
    manifest = manifest_of(MODEL).model_copy(update={"device_class": "phone_cpu"})
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "mounted")}):
        _, signed = publish([LocalRegistry(root=registry)], "phone_cpu", "shoes", MODEL, manifest)
    assert signed
    assert yaml.safe_load(ENVIRONMENT)["kubeflow"]["keys"] == [secret]


def test_secrets_of_the_page_reach_the_nodes_that_use_a_registry() -> None:
    cluster = EnvironmentFile.model_validate(yaml.safe_load(ENVIRONMENT)).kubeflow
    assert cluster is not None
    labels = ("exec-baseline", "exec-champion-phone-cpu", "exec-push-phone-cpu")
    found = platform({"deploymentSpec": {"executors": dict.fromkeys(labels)}}, cluster)
    assert found is not None
    pods = found["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    secrets = {label: {one["secretName"] for kind in pod.values() for one in kind} for label, pod in pods.items()}
    of_registries = {"object-store", "registry-login", "google", "edgemill-keys"}
    assert secrets == {labels[0]: {"object-store"}, labels[1]: of_registries, labels[2]: of_registries}
