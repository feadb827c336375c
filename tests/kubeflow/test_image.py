import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path("kubeflow/build_image.sh").resolve()
CONTAINERFILE = Path("kubeflow/Containerfile")
# In place of Docker: writes down how it was called and what it was given.
RECORDER = """#!/bin/sh
[ "$1" = version ] && exit 0
echo "$@" > {out}/called
for last; do :; done
cp -R "$last" {out}/context
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    docker = tmp_path / "docker"
    docker.write_text(RECORDER.format(out=tmp_path))
    docker.chmod(0o755)
    (tmp_path / "ca.crt").write_text("a proxy's certificate")
    project = tmp_path / "project"
    (project / "__pycache__").mkdir(parents=True)
    (project / "__pycache__" / "task.cpython-311.pyc").write_bytes(b"")
    (project / "pipeline.yaml").write_text("name: x\n")
    command = [str(SCRIPT), "--tag", "r/edgemill:1", "--project", str(project), "--base", "python:3.11"]
    environment = {**os.environ, "DOCKER": str(docker), "SSL_CERT_FILE": str(tmp_path / "ca.crt")}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return tmp_path


def test_image_is_built_from_the_lock_the_source_and_the_project(built: Path) -> None:
    context = built / "context"
    assert (context / "lock").read_bytes() == Path("requirements/tfx-1.16.lock").read_bytes()
    assert sorted(path.name for path in (context / "source").iterdir()) == [
        "components",
        "edgemill",
        "kubeflow",
        "pipelines",
    ]
    assert (context / "source/pipelines/fashion_mnist/data/train.tfrecord.gz").is_file()
    assert [path.name for path in (context / "project").rglob("*")] == ["pipeline.yaml"]
    called = (built / "called").read_text()
    assert "--build-arg BASE=python:3.11 --tag r/edgemill:1" in called


def test_what_only_the_build_needs_stays_out_of_the_image(built: Path) -> None:
    assert (built / "context/ca.pem").read_text() == "a proxy's certificate"
    *_, final = re.split(r"^FROM .*$", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    assert "ca.pem" not in final
    assert not [line for line in final.splitlines() if line.startswith("RUN") and "install" in line]


def test_user_is_a_number_and_may_write_where_the_launcher_stages() -> None:
    text = CONTAINERFILE.read_text()
    (user,) = re.findall(r"^USER (.*)$", text, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:\d+", user)
    assert f"chown {user} /s3 /minio /gcs" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope"], "there is no option --nope"),
        (["--project", "/nowhere/at/all"], "there is no folder /nowhere/at/all"),
        ([], "'false version' fails"),
    ],
)
def test_script_says_what_is_wrong(arguments: list[str], said: str) -> None:
    environment = {**os.environ, "DOCKER": "false"}
    done = subprocess.run(
        [str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
