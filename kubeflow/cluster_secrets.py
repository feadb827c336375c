"""Secrets of a cluster, by their names: as variables of containers, as folders, and as key sets of registries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.values import FrozenModel

# Beginnings of the IDs of nodes that read or write the registry.
USE_REGISTRY = ("push__", "champion__")
KEYS_VARIABLE, KEYS_FOLDER = "EDGEMILL_KEYS", "/etc/edgemill/keys"

_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
# The name of a volume. Kubeflow names the volume of a secret after the secret.
_VOLUME_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

KubernetesName = Annotated[str, Field(pattern=_NAME)]
SecretName = Annotated[str, Field(pattern=_VOLUME_NAME)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ContainerPath = Annotated[str, Field(pattern=r"^/[^\s]*$")]
NodePatterns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class SecretVariables(FrozenModel):
    """Keys of a Kubernetes secret, as environment variables.

    Attributes:
        secret: Name of the secret in the cluster.
        variables: Key of the secret -> environment variable.
        nodes: Shell patterns of the IDs of the nodes that get them, such as `push__*`. By default, all.
    """

    secret: KubernetesName
    variables: Annotated[dict[str, VariableName], Field(min_length=1)]
    nodes: NodePatterns = ("*",)


class SecretFiles(FrozenModel):
    """A Kubernetes secret as a read-only folder, with a file for each key.

    Attributes:
        secret: Name of the secret in the cluster.
        path: Where containers mount it.
        nodes: Shell patterns of the IDs of the nodes that mount it, such as `push__*`. By default, all.
    """

    secret: SecretName
    path: ContainerPath
    nodes: NodePatterns = ("*",)


def key_files(secret: str) -> SecretFiles:
    """The secret with a key set, as a folder of the nodes that use the registry."""
    users = tuple(f"{node}*" for node in USE_REGISTRY)
    return SecretFiles(secret=secret, path=f"{KEYS_FOLDER}/{secret}", nodes=users)
