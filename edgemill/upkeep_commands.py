"""The commands of `edgemill registry` that maintain a complete registry."""

from __future__ import annotations

from typing import Annotated

import typer

from edgemill import options
from edgemill.registry_commands import Address, Places, Trust

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would change.")]


def verify(
    registry: Address,
    place: Places = None,
    trust: Trust = None,
    contains: Annotated[
        str | None, typer.Option(metavar="ENTRY", help="Entry of the audit log that must still be there.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Read a complete registry, and check every file, manifest, channel, and signature.

    Exits with status 1 if something is damaged, and lists all damage. Changes nothing.
    """
    from edgemill.commands.upkeep import print_health

    print_health(registry, tuple(place or ()), trust, contains, as_json=as_json)


def gc(
    registry: Address,
    keep_last: Annotated[
        int | None,
        typer.Option(min=1, help="Keep this many of the newest releases in each place, and remove the others."),
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(metavar="TIME", help="Remove releases that were pushed longer ago, such as 90d.")
    ] = None,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="Keep everything that was written since then, such as 1d or 2h.")
    ] = "1d",
    place: Places = None,
    trust: Trust = None,
    dry_run: DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Remove files that no release needs: leftovers of killed pushes, and superseded signed metadata.

    With --keep-last, --max-age, or both, also remove releases that neither of them keeps. A release that a channel
    names, or can return to, is always kept. Pushes can run at the same time.
    """
    from edgemill.commands.upkeep import collect_garbage

    collect_garbage(registry, keep_last, max_age, grace, tuple(place or ()), trust, dry_run=dry_run, as_json=as_json)


def repair(
    registry: Address,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="SOURCE", help="Another registry, or the folder of a run. Can be repeated."),
    ] = None,
    place: Places = None,
    trust: Trust = None,
    dry_run: DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Restore damaged files and channels, and complete releases that a killed push left behind.

    Only content with the recorded digest is used. Exits with status 1 if something remains damaged.
    """
    from edgemill.commands.upkeep import repair_registry

    repair_registry(registry, tuple(source or ()), tuple(place or ()), trust, dry_run=dry_run, as_json=as_json)


def mirror(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The registry to copy.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The registry to copy to, of any kind.")],
    place: Places = None,
    trust: Trust = None,
    dry_run: DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Copy a registry to another one, byte by byte, with its channels and signatures.

    Existing files aren't copied again. If the command is interrupted, repeat it.
    """
    from edgemill.commands.upkeep import mirror_registry

    mirror_registry(source, target, tuple(place or ()), trust, dry_run=dry_run, as_json=as_json)


def audit(
    registry: Address,
    contains: Annotated[
        str | None,
        typer.Option(metavar="ENTRY", help="Entry that must still be there."),
    ] = None,
    trust: Trust = None,
    as_json: options.AsJson = False,
) -> None:
    """Show who changed what in a registry, and check that no entry was changed or removed.

    In a signed registry, nobody without its keys can remove an entry before the signed one.
    """
    from edgemill.commands.upkeep import print_log

    print_log(registry, contains, trust, as_json=as_json)
