"""Opens the holdings of a registry at a folder or an address."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.core.errors import RegistryError
from components.object_store.bucket import is_address
from components.push.beside import is_oci, normal_root
from components.push.upkeep.files import FileHoldings
from components.push.upkeep.holdings import Holdings


def holdings_at(root: str, places: Iterable[str] = ()) -> Holdings:
    """Open the registry at a folder or an address.

    Args:
        root: Its folder or address.
        places: The places to work on; by default all.

    Raises:
        RegistryError: There is no such folder.
    """
    root, chosen = normal_root(root), tuple(places)
    if is_oci(root):
        from components.push.upkeep.artifacts import OciHoldings

        return OciHoldings(root, chosen)
    if not is_address(root) and not Path(root).is_dir():
        raise RegistryError(
            "there is no such registry",
            where=root,
            bound="a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or oci://HOST/PREFIX",
            remedy="name the `root` of a registry in a pipeline file",
        )
    return FileHoldings(root, chosen)
