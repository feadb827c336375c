"""Registries to which blessed models are delivered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from components.core.values import FrozenModel

# Bucket and prefix, without user, port, or query.
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,253}[a-z0-9](/[A-Za-z0-9._-]+)*/?$"
_S3_ADDRESS, _GCS_ADDRESS = rf"^s3://{_BUCKET}", rf"^gs://{_BUCKET}"
_FILES = "components.push.upkeep.files:FileHoldings"
_FILE_NOTES = "components.push.beside:file_notes"
_BUCKET_STORE = "components.trust.storage:BucketStore"

# One part of a repository's name, by the distribution specification.
OCI_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_OCI_ADDRESS = rf"^oci://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{{1,5}})?(/{OCI_NAME})+/?$"


class BaseRegistry(FrozenModel):
    """A kind of registry.

    Attributes:
        backend: Reference of the class that delivers, `package.module:NAME` (`components.push.registry.Registry`).
        notes: Reference of the function that opens its notes (`components.push.beside.notes_at`). Without it, the
            registry has no audit log, and nothing can be removed from it.
        holdings: Reference of the class for its upkeep (`components.push.upkeep.holdings.Holdings`); empty if there is
            none.
        signed_store: Reference of the class for its signed metadata (`components.trust.storage.ListedStore`). Without
            it, the registry can't be signed.
        address_prefix: Prefix of the addresses of its releases. The registry with the longest matching prefix is used.
        address_pattern: The pattern that its root and the addresses in it match.
        address_form: A description of that pattern.
        kind: Its name in a pipeline file.
        channel: Name of the pointer that devices follow.
        name_pattern: The pattern that a device class and a pipeline's name must match, in addition to the rules for all
            registries.
    """

    backend: ClassVar[str]
    notes: ClassVar[str] = ""
    holdings: ClassVar[str] = ""
    signed_store: ClassVar[str] = ""
    address_prefix: ClassVar[str]
    address_pattern: ClassVar[str] = ""
    address_form: ClassVar[str] = ""
    name_pattern: ClassVar[str] = ".*"

    kind: str
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")] = "stable"

    @property
    def paths(self) -> Mapping[str, str]:
        """The fields that are local paths relative to the pipeline file."""
        return {}

    @property
    def place(self) -> str:
        """Its root, which is its name in messages; its kind if it has no root."""
        return self.kind


class LocalRegistry(BaseRegistry):
    """A folder registry: `<root>/<device class>/<name>/<version by content>/`, next to the pointer of each channel.

    Each release contains `model.tflite` and, for download, `model.tflite.gz`.

    Attributes:
        root: Folder of the registry.
    """

    backend: ClassVar[str] = "components.push.folder:FolderRegistry"
    notes: ClassVar[str] = _FILE_NOTES
    holdings: ClassVar[str] = _FILES
    signed_store: ClassVar[str] = "components.trust.storage:FolderStore"
    address_prefix: ClassVar[str] = ""
    address_form: ClassVar[str] = "a folder"

    kind: Literal["local"] = "local"
    root: str

    @property
    def paths(self) -> Mapping[str, str]:
        """The root."""
        return {"root": self.root}

    @property
    def place(self) -> str:
        """The root."""
        return self.root


class S3Registry(BaseRegistry):
    """A registry in Amazon S3 or a compatible object store, with the same files as a folder registry.

    Credentials, region, and endpoint come from the environment, as for pipeline roots.

    Attributes:
        root: Bucket and prefix, `s3://BUCKET/PREFIX`.
    """

    backend: ClassVar[str] = "components.push.object_registry:ObjectRegistry"
    notes: ClassVar[str] = _FILE_NOTES
    holdings: ClassVar[str] = _FILES
    signed_store: ClassVar[str] = _BUCKET_STORE
    address_prefix: ClassVar[str] = "s3://"
    address_pattern: ClassVar[str] = _S3_ADDRESS
    address_form: ClassVar[str] = "s3://BUCKET/PREFIX"

    kind: Literal["s3"]
    root: Annotated[str, Field(pattern=_S3_ADDRESS)]

    @property
    def place(self) -> str:
        """The root."""
        return self.root


class GcsRegistry(BaseRegistry):
    """A registry in Google Cloud Storage, with the same files as a folder registry.

    Credentials come from the environment, as for pipeline roots.

    Attributes:
        root: Bucket and prefix, `gs://BUCKET/PREFIX`.
    """

    backend: ClassVar[str] = "components.push.object_registry:ObjectRegistry"
    notes: ClassVar[str] = _FILE_NOTES
    holdings: ClassVar[str] = _FILES
    signed_store: ClassVar[str] = _BUCKET_STORE
    address_prefix: ClassVar[str] = "gs://"
    address_pattern: ClassVar[str] = _GCS_ADDRESS
    address_form: ClassVar[str] = "gs://BUCKET/PREFIX"

    kind: Literal["gcs"]
    root: Annotated[str, Field(pattern=_GCS_ADDRESS)]

    @property
    def place(self) -> str:
        """The root."""
        return self.root


class OciRegistry(BaseRegistry):
    """A registry of OCI artifacts, such as a container registry. Each release is a ModelPack artifact.

    A pipeline and a device class have the repository `<root>/<device class>/<name>`. Each version is a tag, and so is
    each channel. Credentials come from the configuration files of Docker, Podman, or skopeo.

    Attributes:
        root: Registry and prefix of the repositories, `oci://HOST[:PORT]/PREFIX`.
    """

    backend: ClassVar[str] = "components.push.oci.registry:OciBackend"
    notes: ClassVar[str] = "components.push.beside:oci_notes"
    holdings: ClassVar[str] = "components.push.upkeep.artifacts:OciHoldings"
    signed_store: ClassVar[str] = "components.trust.oci_store:OciStore"
    address_prefix: ClassVar[str] = "oci://"
    address_pattern: ClassVar[str] = _OCI_ADDRESS
    address_form: ClassVar[str] = "oci://HOST[:PORT]/PREFIX in lowercase letters and digits, separated by - . or _"
    name_pattern: ClassVar[str] = OCI_NAME

    kind: Literal["oci"]
    root: Annotated[str, Field(pattern=_OCI_ADDRESS)]

    @field_validator("channel")
    @classmethod
    def _not_a_version(cls, value: str) -> str:
        if re.fullmatch(r"[0-9a-f]{16}(-[0-9a-f]{16})?", value):
            raise ValueError("16 hexadecimal digits are the tag of a version; choose another name")
        return value

    @property
    def place(self) -> str:
        """The root."""
        return self.root


# Add a new kind of registry here.
AnyRegistry = LocalRegistry | S3Registry | GcsRegistry | OciRegistry

REGISTRIES: tuple[type[BaseRegistry], ...] = get_args(AnyRegistry)


def _with_kind(value: Any) -> Any:
    """Fill in the default kind, because pydantic doesn't do so in a discriminated union."""
    return {"kind": "local", **value} if isinstance(value, Mapping) and "kind" not in value else value


Registry = Annotated[AnyRegistry, Field(discriminator="kind"), BeforeValidator(_with_kind)]

# pydantic names the chosen shape in the places of errors. No field has such a name.
SHAPES = ONE, SEVERAL = "<one>", "<several>"
Registries = Annotated[
    Annotated[Registry, Tag(ONE)] | Annotated[tuple[Registry, ...], Field(min_length=1), Tag(SEVERAL)],
    Discriminator(lambda value: SEVERAL if isinstance(value, list | tuple) else ONE),
]


def by_field(push: Registries) -> dict[str, AnyRegistry]:
    """Map the field of each registry in the pipeline file to the registry."""
    if isinstance(push, BaseRegistry):
        return {"push": push}
    return {f"push[{index}]": registry for index, registry in enumerate(push)}
