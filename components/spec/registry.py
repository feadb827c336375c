"""Registries to which blessed models are delivered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from components.core.values import FrozenModel


class BaseRegistry(FrozenModel):
    """A kind of registry.

    Attributes:
        backend: Reference of the class that delivers, `package.module:NAME` (`components.push.registry.Registry`).
        address_prefix: Prefix of the addresses of its releases. The registry with the longest matching prefix is used.
        kind: Its name in a pipeline file.
        channel: Name of the pointer that devices follow.
    """

    backend: ClassVar[str]
    address_prefix: ClassVar[str]

    kind: str
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")] = "stable"

    @property
    def paths(self) -> Mapping[str, str]:
        """The fields that are local paths relative to the pipeline file."""
        return {}


class LocalRegistry(BaseRegistry):
    """A folder registry: `<root>/<device class>/<name>/<version by content>/`, next to the pointer of each channel.

    Each release contains `model.tflite` and, for download, `model.tflite.gz`.

    Attributes:
        root: Folder of the registry.
    """

    backend: ClassVar[str] = "components.push.folder:FolderRegistry"
    address_prefix: ClassVar[str] = ""

    kind: Literal["local"] = "local"
    root: str

    @property
    def paths(self) -> Mapping[str, str]:
        """The root."""
        return {"root": self.root}


# Add a new kind of registry here.
AnyRegistry = LocalRegistry

REGISTRIES: tuple[type[BaseRegistry], ...] = get_args(AnyRegistry) or (LocalRegistry,)
_BY_KIND = Field(discriminator="kind") if len(REGISTRIES) > 1 else Field()
Registry = Annotated[AnyRegistry, _BY_KIND]
