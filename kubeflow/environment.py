"""The environment file: where a pipeline runs. It contains names of secrets, but never secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from components.core.errors import EdgemillError, SpecError
from components.core.values import FrozenModel
from components.object_store.bucket import check_address
from kubeflow.cluster_secrets import (
    KEYS_VARIABLE,
    ContainerPath,
    KubernetesName,
    SecretFiles,
    SecretName,
    SecretVariables,
    VariableName,
    key_files,
)
from pipelines.file.environment import RunnerName
from pipelines.file.load import InvalidFileError, read_yaml_as
from pipelines.file.redaction import SECRET_WORDS, has_password, has_secret

# The addresses that the launcher of Kubeflow Pipelines stages.
ROOT_PATTERN = r"^(s3|minio|gs)://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._/-]*)?$"
_CPU = r"^[0-9]+(\.[0-9]+)?m?$"
_BYTES = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$"


class Resources(FrozenModel):
    """The resources that a container can use, in Kubernetes' units.

    Attributes:
        cpu: Cores, such as `2` or `500m`. By default, no bound.
        memory: Bytes, such as `8G` or `512Mi`. By default, no bound.
    """

    cpu: Annotated[str, Field(pattern=_CPU)] | None = None
    memory: Annotated[str, Field(pattern=_BYTES)] | None = None


class Retries(FrozenModel):
    """How often Kubeflow restarts a failed container.

    Attributes:
        count: Attempts after the first.
        wait_seconds: Wait before the second attempt.
        factor: How many times longer each wait is than the one before.
        longest_wait_seconds: Upper bound of each wait.
    """

    count: Annotated[int, Field(ge=0, le=20)] = 0
    wait_seconds: Annotated[int, Field(ge=0)] = 30
    factor: Annotated[float, Field(ge=1)] = 2.0
    longest_wait_seconds: Annotated[int, Field(ge=0)] = 600


class Volume(FrozenModel):
    """A persistent volume claim.

    Attributes:
        claim: Name of the claim in the cluster.
        path: Where containers mount it.
    """

    claim: KubernetesName
    path: ContainerPath


class KubeflowEnvironment(FrozenModel):
    """A cluster with Kubeflow Pipelines.

    Attributes:
        image: Reference of the container image that `kubeflow/build_image.sh` builds.
        pipeline_root: Where artifacts go: `s3://`, `minio://`, or `gs://`, with bucket and prefix.
        folders: Folder of this machine, relative to the environment file, to its path in the image. Edgemill's own
            folder is included automatically.
        examples: Where containers find the examples: `s3://` or `gs://`, which Beam reads, or a path in the container.
            By default, the pipeline file's path, which `folders` must cover.
        registry: Folder of the registry in the container, for a pipeline that pushes to a folder. It must be below a
            volume, or it disappears with the container.
        volumes: Claims to mount. The registry's is mounted for pushes and champions, the examples' where they are read,
            and other claims in every container.
        resources: Resources of each container.
        node_resources: Shell pattern of node IDs (`convert__*`) to resources that differ for these nodes. The first
            match is used.
        retries: Restarts of each container.
        caching: Whether Kubeflow can take a node's outputs from an earlier run.
        secrets: Secrets of the cluster, as environment variables.
        secret_files: Secrets of the cluster, as folders. A variable in `env` can name a file in one.
        keys: Secrets with the key sets of signed registries: `keys.json`, `root.json`, and private keys. The nodes that
            push or look up a champion mount them, and find them through EDGEMILL_KEYS.
        env: Other environment variables.
        image_pull_secret: Secret of the cluster to pull the image with.
        endpoint: Address of the Kubeflow Pipelines API, for `edgemill submit`.
        namespace: Namespace in a multi-user installation.
        experiment: Experiment that runs belong to.
    """

    image: Annotated[str, Field(pattern=r"^[a-z0-9][\w.:/@-]*$")]
    pipeline_root: Annotated[str, Field(pattern=ROOT_PATTERN)]
    folders: dict[str, ContainerPath] = {}
    examples: Annotated[str, Field(pattern=r"^(s3://|gs://|/)")] | None = None
    registry: ContainerPath | None = None
    volumes: tuple[Volume, ...] = ()
    resources: Resources = Resources()
    node_resources: dict[str, Resources] = {}
    retries: Retries = Retries()
    caching: bool = True
    secrets: tuple[SecretVariables, ...] = ()
    secret_files: tuple[SecretFiles, ...] = ()
    keys: tuple[SecretName, ...] = ()
    env: dict[VariableName, str] = {}
    image_pull_secret: KubernetesName | None = None
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    namespace: KubernetesName | None = None
    experiment: Annotated[str, Field(min_length=1)] = "Default"

    @property
    def mounted(self) -> tuple[SecretFiles, ...]:
        """All mounted secrets, including those with key sets."""
        return (*self.secret_files, *map(key_files, self.keys))

    def resources_of(self, node: str) -> Resources:
        """The bounds of one node's container."""
        special = next((bounds for glob, bounds in self.node_resources.items() if fnmatchcase(node, glob)), Resources())
        return Resources(cpu=special.cpu or self.resources.cpu, memory=special.memory or self.resources.memory)


class EnvironmentFile(FrozenModel):
    """An environment to run in. The same pipeline file works in all environments.

    Attributes:
        root: Folder of metadata, reports, and artifacts for the local and the Beam runner, relative to this file. By
            default, `build/edgemill` in the working directory.
        pipeline_root: Where artifacts of these runners go if not below the root: `s3://` or `gs://`, with bucket and
            prefix. Use one pipeline root for each metadata store: two stores would give their executions the same
            numbers.
        metadata: ML Metadata of these runners, a URL without a password. Set `EDGEMILL_METADATA_PASSWORD` for the
            password. On Kubeflow, the cluster's own server keeps the metadata. By default, SQLite inside the root.
        runner: TFX runner of `edgemill run`.
        beam_args: Arguments of every Beam pipeline, regardless of the runner.
        kubeflow: The cluster.
    """

    root: str | None = None
    pipeline_root: str | None = None
    metadata: str | None = None
    runner: RunnerName = "local"
    beam_args: tuple[Annotated[str, Field(pattern=r"^--")], ...] = ()
    kubeflow: KubeflowEnvironment | None = None


class EnvironmentFileError(InvalidFileError):
    """Several errors in one environment file."""

    kind = "environment file"


def read_environment(file: Path) -> EnvironmentFile:
    """Read an environment file, and make its folders absolute.

    Raises:
        EnvironmentFileError: The file is wrong. Contains every error. Messages don't repeat values that can be secrets.
    """
    found, errors = read_yaml_as(file, EnvironmentFile)
    # Errors of fields that can contain a secret by mistake do not repeat the value.
    errors = [_without_value(error) for error in errors]
    if found is not None:
        errors += [*_of_plain_runs(found), *(_of_cluster(found.kubeflow) if found.kubeflow is not None else ())]
    if errors or found is None:
        raise EnvironmentFileError(file, errors)
    folder = Path(os.path.realpath(file)).parent
    root = os.path.realpath(folder / found.root) if found.root else None
    cluster = found.kubeflow
    if cluster is not None:
        folders = {os.path.realpath(folder / name): path for name, path in cluster.folders.items()}
        cluster = cluster.model_copy(update={"folders": folders})
    return found.model_copy(update={"root": root, "kubeflow": cluster})


def cluster_of(found: EnvironmentFile, file: Path) -> KubeflowEnvironment:
    """The cluster that an environment file describes. Raises a SpecError if there is none."""
    if found.kubeflow is None:
        raise SpecError(
            "the environment file describes no cluster",
            where=str(file),
            bound="a section `kubeflow` with image and pipeline_root",
            remedy="add the section; see docs/kubeflow.md",
        )
    return found.kubeflow


def _of_plain_runs(found: EnvironmentFile) -> Iterator[SpecError]:
    if found.metadata and not found.metadata.startswith("sqlite:") and has_password(found.metadata):
        yield _secret("metadata", "a password", "omit it, and set EDGEMILL_METADATA_PASSWORD where runs start")
    for index, argument in enumerate(found.beam_args):
        if has_secret(argument):
            yield _secret(
                f"beam_args[{index}]", "a secret", "pass it in an environment variable (`secrets` on Kubeflow)"
            )
    if found.root and "://" in found.root:
        yield SpecError(
            "reports, locks, and SQLite cannot be in an object store",
            where="root",
            bound="a folder, relative to this file",
            remedy="specify a folder, and set `pipeline_root` to the address for artifacts",
        )
    if found.pipeline_root is not None:
        try:
            check_address(found.pipeline_root, "pipeline_root")
        except SpecError as error:
            yield error


def _of_cluster(cluster: KubeflowEnvironment) -> Iterator[SpecError]:
    for name, value in cluster.env.items():
        mounted = any(PurePosixPath(value).is_relative_to(one.path) for one in cluster.mounted)
        if (SECRET_WORDS.search(name) and not mounted) or has_password(value):
            yield _secret(
                f"kubeflow.env.{name}", "a secret", "put it into a Kubernetes secret, and list that secret in `secrets`"
            )
    for field, address in (("endpoint", cluster.endpoint), ("examples", cluster.examples)):
        if address and has_password(address):
            yield _secret(f"kubeflow.{field}", "a password", "omit it; see `edgemill submit --help` for credentials")
    registry = cluster.registry
    if registry and not any(Path(registry).is_relative_to(volume.path) for volume in cluster.volumes):
        yield SpecError(
            "the registry would be lost with the container",
            where="kubeflow.registry",
            bound="a path below one of `volumes`",
            measured=registry,
            remedy="mount a persistent volume claim there: volumes: [{claim: NAME, path: PATH}]",
        )
    yield from _of_mounts(cluster)
    names = [variable for secret in cluster.secrets for variable in secret.variables.values()] + list(cluster.env)
    names += [KEYS_VARIABLE] if cluster.keys else []
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield SpecError(
            f"the variable {name} is set twice",
            where="kubeflow.env",
            remedy="remove one of them from `secrets` or `env`, or remove `keys`",
        )


def _of_mounts(cluster: KubeflowEnvironment) -> Iterator[SpecError]:
    names = [one.secret for one in cluster.mounted] + [volume.claim for volume in cluster.volumes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield SpecError(
            f"Kubeflow would create two volumes with the name {name}",
            where="kubeflow.secret_files",
            bound="each secret once, in `secret_files` or `keys`, and no claim of its name in `volumes`",
            remedy="mount it once, or rename one of them in the cluster",
        )
    paths = [one.path.rstrip("/") for one in cluster.mounted] + [volume.path.rstrip("/") for volume in cluster.volumes]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield SpecError(
            "two volumes have the same path",
            where="kubeflow.secret_files",
            measured=path,
            remedy="give each one its own path",
        )


def _without_value(error: EdgemillError) -> EdgemillError:
    named = error.where or ""
    private = ("metadata", "pipeline_root", "beam_args", "kubeflow.env", "kubeflow.endpoint", "kubeflow.examples")
    if not named.startswith(private):
        return error
    return SpecError(error.what, where=error.where, bound=error.bound, remedy=error.remedy)


def _secret(where: str, what: str, remedy: str) -> SpecError:
    # Leave out the value, because errors are logged.
    return SpecError(f"this contains {what}, and others can read the compiled file", where=where, remedy=remedy)
