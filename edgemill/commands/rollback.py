"""`edgemill rollback`: points a channel to an earlier release again."""

from __future__ import annotations

from pathlib import Path

import typer

from components.push.audit import record
from components.push.registry import registry_at
from components.push.release_files import root_and_place
from components.push.signed import can_be_signed, open_signed, promote
from components.trust.rollout import FULL_SHARE, to_json
from edgemill.contract import print_json
from pipelines.file.environment import environment


def roll_back(
    release: str,
    channel: str,
    root: Path | None,
    metadata_url: str | None,
    *,
    files_only: bool,
    as_json: bool = False,
) -> None:
    """Point a channel to a release that a run pushed, and print what changed.

    Args:
        release: Address of the release.
        channel: An existing channel.
        root, metadata_url: Where the metadata store is.
        files_only: Check only that the files of the release agree with each other.
        as_json: Print JSON.

    Raises:
        RegistryError: The release is damaged or belongs elsewhere, or there is no such channel.
        MetadataError: No run of the store pushed the release, or the store can't be read.
        TamperedError: The release's manifest isn't the one that was written.
    """
    registry = registry_at(release)
    found = registry.resolve(release)
    if not files_only:
        from pipelines.runs.lineage import recorded_push
        from pipelines.storage.metadata_connection import open_existing_store

        recorded_push(open_existing_store(environment(root, metadata_url).metadata_url), found)
    address = found.address
    if can_be_signed(address) and open_signed(address.rsplit("/", 3)[0]) is not None:
        state = promote(address, channel, FULL_SHARE, found)
        if as_json:
            print_json(to_json(state))
            return
        typer.echo(f"{channel} of {state.name} for {state.device_class}: {address.rpartition('/')[2]}, signed")
        return
    before, pointed = registry.point_at(release, channel)
    # Done last, because only now is it known that the release is in a registry.
    record(*root_and_place(address), what="rollback", channel=channel, before=before)
    if as_json:
        content = {
            "channel": channel,
            "pipeline": pointed.manifest.name,
            "device": pointed.manifest.device_class,
            "version": pointed.version,
            "before": before,
        }
        print_json(content)
        return
    typer.echo(
        f"{channel} of {pointed.manifest.name} for {pointed.manifest.device_class}: {pointed.version}, was {before}"
    )
