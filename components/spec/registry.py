"""Where blessed models are delivered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.core.values import FrozenModel


class LocalRegistry(FrozenModel):
    """A folder registry: `<root>/<device class>/<name>/<version by content>/`, next to the pointer of each channel.

    Each release holds `model.tflite` and, for download, `model.tflite.gz`.

    Attributes:
        root: Folder of the registry.
        channel: Name of the pointer that devices follow.
    """

    kind: Literal["local"] = "local"
    root: str
    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")] = "stable"
