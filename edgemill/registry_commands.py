"""The command group `edgemill registry`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemill import options
from edgemill.contract import contracted

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sign a registry, and move its channels.")

Address = Annotated[str, typer.Argument(metavar="REGISTRY", help="The registry's folder or address.")]
Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="REGISTRY/DEVICE_CLASS/NAME: a pipeline's releases for a device class.")
]
Channel = Annotated[str, typer.Option(help="canary, beta, or stable.")]
Places = Annotated[
    list[str] | None,
    typer.Option("--place", metavar="DEVICE_CLASS/NAME", help="Only this place. Can be repeated. By default, all."),
]
Trust = Annotated[
    Path | None,
    typer.Option(
        metavar="ROOT.JSON",
        help="Root that the signatures must lead to. By default, the root of the registry's key set in EDGEMILL_KEYS, "
        "or else the registry's own first root.",
    ),
]


@app.command()
@contracted
def init(
    registry: Address,
    keys: Annotated[Path, typer.Option(help="Folder for the keys. It must be empty or not exist.")] = Path(
        "edgemill-keys"
    ),
    timestamp_days: Annotated[
        int | None, typer.Option(min=1, help="Days until devices refuse a registry that nobody refreshes [7].")
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            "--place",
            metavar="DEVICE_CLASS/NAME",
            help="A place with releases, if an OCI registry can't list its repositories. Can be repeated.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Sign a registry, with a new set of development keys.

    Devices that trust its root.json then accept only models that the keys signed. Set EDGEMILL_KEYS to the folder of
    the keys for every command and pipeline that writes to the registry.

    If the registry has releases, all of them are verified first, and then signed unchanged, with their channels.
    """
    from edgemill.commands.registry import init as init_registry

    init_registry(registry, keys, timestamp_days, tuple(place or ()), as_json=as_json)


@app.command()
@contracted
def status(
    registry: Address,
    place: Places = None,
    trust: Trust = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what each channel gives to devices and, if the registry is signed, when signatures expire.

    It needs no private keys.
    """
    from edgemill.commands.registry import status as print_status

    print_status(registry, tuple(place or ()), trust, as_json=as_json)


@app.command()
@contracted
def delegate(
    registry: Address,
    device_class: Annotated[str, typer.Argument(metavar="DEVICE_CLASS", help="As in the device's profile.")],
    as_json: options.AsJson = False,
) -> None:
    """Create the keys for a device class's channels. Pushes then don't need the key of `targets`.

    Without this command, the first push for the device class creates them. Use it if that push runs where the key set
    can't be written, such as on Kubeflow.
    """
    from edgemill.commands.registry import delegate as delegate_channels

    delegate_channels(registry, device_class, as_json=as_json)


@app.command()
@contracted
def promote(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release's folder or address.")],
    channel: Channel = "stable",
    percent: Annotated[
        float, typer.Option(min=0.01, max=100, help="Share of devices that get the release, in percent.")
    ] = 100.0,
    as_json: options.AsJson = False,
) -> None:
    """Give a release to the devices of a channel, or to some of them.

    Which devices are chosen depends on a hash of their ID. If you repeat the command with a higher percentage, the
    devices that have the release keep it. It also resumes a paused roll-out.
    """
    from edgemill.commands.registry import promote as promote_release

    promote_release(release, channel, percent, as_json=as_json)


@app.command()
@contracted
def rollback(place: Place, channel: Channel = "stable", as_json: options.AsJson = False) -> None:
    """Take back the newest release of a channel: devices return to the one before."""
    from edgemill.commands.registry import roll_back

    roll_back(place, channel, as_json=as_json)


@app.command()
@contracted
def pause(place: Place, channel: Channel = "stable", as_json: options.AsJson = False) -> None:
    """Keep the newest release of a channel from reaching more devices. `promote` resumes."""
    from edgemill.commands.registry import pause as pause_rollout

    pause_rollout(place, channel, as_json=as_json)


@app.command()
@contracted
def refresh(
    registry: Address,
    force: Annotated[bool, typer.Option("--force", help="Sign again even if nothing expires soon.")] = False,
    accept_older: Annotated[
        bool,
        typer.Option(
            "--accept-older",
            help="Accept a registry that is older than what was signed before, such as one that you restored from a "
            "backup, and sign all of it as the newest.",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Sign again every role that has less than half of its lifetime left. Run this command every day.

    It needs the keys of the timestamp and the snapshot. If the keys of other roles aren't available, it lists the roles
    that expire.
    """
    from edgemill.commands.registry import refresh as refresh_registry

    refresh_registry(registry, force=force, accept_older=accept_older, as_json=as_json)


@app.command("public-key")
@contracted
def public_key(
    registry: Address,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="DEVICE_CLASS.CHANNEL, or another role.")],
    as_header: Annotated[
        bool, typer.Option("--header", help="Print a C header for the checker of microcontrollers instead of PEM.")
    ] = False,
    trust: Trust = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the public keys of a role. The firmware of microcontrollers contains the keys of its channel.

    It needs no private keys.
    """
    from edgemill.commands.registry import print_public_keys

    print_public_keys(registry, role, trust, as_header=as_header, as_json=as_json)


@app.command()
@contracted
def rotate(
    registry: Address,
    role: Annotated[
        str,
        typer.Argument(metavar="ROLE", help="root, targets, snapshot, timestamp, or DEVICE_CLASS.CHANNEL."),
    ],
    public_key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Public key (PEM) of a key that exists elsewhere.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Where it is: env:VARIABLE, file:PATH, or a URI of securesystemslib, such as awskms:ID."),
    ] = None,
    old: Annotated[
        str | None, typer.Option(help="Beginning of the ID of the key to replace [the oldest key of the role].")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Replace a key of a role with a new one. Devices accept the new key automatically, and refuse the old one.

    Without --key, the new key is a file of the key set.
    """
    from edgemill.commands.registry import rotate as rotate_key

    rotate_key(registry, role, public_key, key, old, as_json=as_json)
