from pathlib import Path
from typing import Any

import pytest

from edgemill.commands.run import place_of
from kubeflow.environment import EnvironmentFileError, cluster_of, read_environment
from tests.kubeflow.environments import SECRET, cluster, write_environment


def read(folder: Path, section: dict[str, Any], **others: Any) -> Any:
    return cluster_of(read_environment(write_environment(folder, section, **others)), folder)


def test_folders_and_root_are_relative_to_the_file(tmp_path: Path) -> None:
    path = write_environment(tmp_path, cluster(folders={"../work": "/work"}), root="out")
    found = read_environment(path)
    assert found.root == str(tmp_path / "out")
    assert cluster_of(found, path).folders == {str(tmp_path.parent / "work"): "/work"}


def test_resources_of_a_node_are_its_own_before_the_general_ones(tmp_path: Path) -> None:
    found = read(
        tmp_path, cluster(resources={"cpu": "2", "memory": "8G"}, node_resources={"convert__*": {"memory": "12Gi"}})
    )
    assert found.resources_of("convert__int8").model_dump() == {"cpu": "2", "memory": "12Gi"}
    assert found.resources_of("evaluate").model_dump() == {"cpu": "2", "memory": "8G"}


@pytest.mark.parametrize(
    ("section", "others", "said"),
    [
        ({"env": {"DB_PASSWORD": SECRET}}, {}, "kubeflow.env.DB_PASSWORD: this contains a secret"),
        ({"env": {"DB": f"mysql://me:{SECRET}@db/x"}}, {}, "kubeflow.env.DB: this contains a secret"),
        ({"endpoint": f"https://me:{SECRET}@kubeflow"}, {}, "kubeflow.endpoint: this contains a password"),
        ({"examples": f"gs://me:{SECRET}@bucket"}, {}, "kubeflow.examples: this contains a password"),
        ({"examples": f"s3://me:{SECRET}@bucket"}, {}, "kubeflow.examples: this contains a password"),
        ({}, {"pipeline_root": f"s3://me:{SECRET}@bucket/x"}, "pipeline_root: this is not a pipeline root address"),
        ({}, {"root": "s3://bucket/x"}, "root: reports, locks, and SQLite cannot be in an object store"),
        ({}, {"metadata": f"mysql://me:{SECRET}@db/x"}, "metadata: this contains a password"),
        ({}, {"beam_args": [f"--s3_secret_access_key={SECRET}"]}, "beam_args[0]: this contains a secret"),
        ({"env": {"DB_PASSWORD": [SECRET]}}, {}, "kubeflow.env.DB_PASSWORD"),
        ({}, {"beam_args": [SECRET]}, "beam_args[0]"),
    ],
)
def test_secrets_are_refused_and_not_repeated(
    tmp_path: Path, section: dict[str, Any], others: dict[str, Any], said: str
) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        read(tmp_path, cluster(**section), **others)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"registry": "/elsewhere"}, "the registry would be lost with the container"),
        ({"pipeline_root": "/mnt/artifacts"}, "kubeflow.pipeline_root"),
        ({"pipeline_root": "hdfs://host/x"}, "kubeflow.pipeline_root"),
        ({"image": "Not An Image"}, "kubeflow.image"),
        ({"resources": {"memory": "8 gigabytes"}}, "kubeflow.resources.memory"),
        ({"retries": {"count": 99}}, "kubeflow.retries.count"),
        ({"imgae": "x"}, "did you mean 'image'?"),
        (
            {"secrets": [{"secret": "s", "variables": {"a": "X", "b": "X"}}], "env": {}},
            "the variable X is set twice",
        ),
        ({"keys": ["mill"], "env": {"EDGEMILL_KEYS": "/keys"}}, "the variable EDGEMILL_KEYS is set twice"),
        ({"keys": ["mill", "mill"]}, "Kubeflow would create two volumes with the name mill"),
        ({"keys": ["edgemill-registry"]}, "Kubeflow would create two volumes with the name edgemill-registry"),
        ({"keys": ["a.b"]}, "kubeflow.keys[0]"),
        ({"secret_files": [{"secret": "a", "path": "/registry/"}]}, "two volumes have the same path"),
        ({"secret_files": [{"secret": "a", "path": "etc"}]}, "kubeflow.secret_files[0].path"),
        ({"env": {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/other/key.json"}}, "this contains a secret"),
    ],
)
def test_errors_name_the_field(tmp_path: Path, section: dict[str, Any], said: str) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        read(tmp_path, cluster(**section))
    assert said in str(caught.value)


def test_variable_can_name_a_file_of_a_mounted_secret(tmp_path: Path) -> None:
    files = [{"secret": "gcs", "path": "/etc/gcs"}]
    found = read(tmp_path, cluster(secret_files=files, env={"GOOGLE_APPLICATION_CREDENTIALS": "/etc/gcs/key.json"}))
    assert found.mounted[0].secret == "gcs"


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match="2 errors in the environment file"):
        read(tmp_path, cluster(registry="/elsewhere", env={"API_TOKEN": "x"}))


def test_a_file_without_a_cluster_says_so(tmp_path: Path) -> None:
    path = tmp_path / "environment.yaml"
    path.write_text("root: out\n")
    with pytest.raises(Exception, match="describes no cluster"):
        cluster_of(read_environment(path), path)


def test_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "environment.yaml"
    path.write_text("root: out\nrunner: beam\nmetadata: sqlite:/x\nbeam_args: [--direct_num_workers=2]\n")
    place = place_of(path, None, None, None, ("--a=1",))
    assert (place.root, place.runner, place.metadata_url) == (tmp_path / "out", "beam", "sqlite:/x")
    assert place.beam_args == ("--direct_num_workers=2", "--a=1")
    place = place_of(path, "local", tmp_path / "other", "sqlite:/y", ())
    assert (place.root, place.runner, place.metadata_url) == (tmp_path / "other", "local", "sqlite:/y")
    assert place_of(None, None, None, None, ()).root == Path("build/edgemill").resolve()
