"""`edgemill registry`: sign a registry, and move its channels."""

from __future__ import annotations

from pathlib import Path

import typer

from components.core.errors import RegistryError, SpecError, counted
from components.push import signed
from components.push.audit import newest, record
from components.push.beside import check_exists, normal_root
from components.push.release_files import check_part
from components.trust import rollout
from components.trust.clock import now, wrong_times
from components.trust.keys import ROOT_NAME, VARIABLE
from components.trust.names import ARCHIVE
from components.trust.repository import SignedRegistry
from components.trust.signing import point_of
from edgemill.commands.upkeep import checked_places
from edgemill.contract import print_json

_WARNING = (
    "DEVELOPMENT KEYS. All private keys, including those of the root, are files on this machine. Anyone who can read "
    "them can publish any model to every device. Before devices depend on this registry, move the keys of the root "
    "offline and the others into a key service: docs/registry.md."
)


def init(
    address: str, folder: Path, timestamp_days: int | None, places: tuple[str, ...] = (), *, as_json: bool = False
) -> None:
    """Sign a registry, with the releases that it has, with a new development key set."""
    from components.push.upkeep.convert import sign

    done = sign(address, folder, timestamp_days, checked_places(places))
    if as_json:
        keys = {"keys": str(folder.resolve()), "root": str(folder.resolve() / ROOT_NAME)}
        print_json({**done.model_dump(mode="json"), **keys})
    else:
        typer.echo(f"signed: {done.registry}")
        if done.releases:
            typer.echo(
                f"carried over: {counted(done.releases, 'release')} (in channels: {', '.join(done.channels) or 'none'};"
                f" in no channel: {done.archived}); all verified"
            )
            lacks = ", ".join(f"{what} ({number})" for what, number in done.lacks.items())
            typer.echo(f"their statements lack: {lacks}. Push a model again to sign the facts of its run")
        typer.echo(f"keys: {folder} (export {VARIABLE}={folder.resolve()})")
        typer.echo(f"devices trust: {folder / ROOT_NAME}")
    typer.secho(_WARNING, err=True, fg="yellow", bold=True)


def status(address: str, places: tuple[str, ...] = (), trust: Path | None = None, *, as_json: bool = False) -> None:
    """Print the channels of a registry and, if it is signed, when its signatures expire."""
    from components.push.upkeep.trusted import open_to_read

    checked_places(places)
    check_exists(root := normal_root(address))
    opened = open_to_read(root, trust)
    if opened is None:
        _print_pointers(root, places, as_json=as_json)
        return
    registry, anchored = opened
    found = registry.read()
    expiry = {
        name: one.signed.expires
        for name, one in (("root", found.root), ("targets", found.targets), ("snapshot", found.snapshot),
                          ("timestamp", found.timestamp))
    }  # fmt: skip
    keys = signed.key_set_of(root, registry.store)
    states = [one for one in registry.channels() if not places or f"{one.device_class}/{one.name}" in places]
    problems, times = registry.problems(), wrong_times(registry.store, found, root)
    if as_json:
        value = {
            "registry": root,
            "signed": True,
            "anchored": anchored,
            "development": keys.file.development if keys else None,
            "expires": {name: when.isoformat() for name, when in expiry.items()},
            "channels": [rollout.to_json(state) for state in states],
            "problems": {**problems, **times},
        }
        print_json(value)
        return
    how = " with development keys" if keys and keys.file.development else ""
    how += "" if anchored else ", verified from its own first root (specify a trusted root.json with --trust)"
    typer.echo(f"{root}: signed{how}")
    for name, when in expiry.items():
        typer.echo(f"  {name} expires {when:%Y-%m-%d %H:%M} UTC{' (EXPIRED)' if when <= now() else ''}")
    for state in states:
        typer.echo(f"  {_line(state)}")
    for role, why in times.items():
        typer.secho(f"  {role}: {why}", err=True, fg="red")
    for place, why in problems.items():
        typer.secho(f"  {place}: signed, but {why}; devices ignore it. Rotate the key of the role", err=True, fg="red")


def _print_pointers(root: str, places: tuple[str, ...], *, as_json: bool) -> None:
    """Print the channels of a registry that isn't signed: each one gives its release to all devices."""
    from components.push.upkeep.opening import holdings_at, no_registry, places_in

    holdings = holdings_at(root, places)
    found = places_in(holdings, places)
    if not found and not newest(root):
        raise no_registry(root, len(holdings.strangers()))
    channels: list[tuple[str, str, str]] = []
    problems: dict[str, str] = {}
    for place in found:
        for channel, release in sorted(holdings.channels(place).items()):
            if isinstance(release, RegistryError):
                problems[f"{place}: {channel}"] = str(release)
            else:
                channels.append((place, channel, release.version))
    if as_json:
        given = [
            {
                "device_class": place.partition("/")[0],
                "name": place.partition("/")[2],
                "channel": channel,
                "stages": [{"release": {"version": version}, "share": rollout.FULL_SHARE, "paused": False}],
            }
            for place, channel, version in channels
        ]
        unsigned = {"registry": root, "signed": False, "anchored": False, "development": None}
        print_json({**unsigned, "expires": {}, "channels": given, "problems": problems})
        return
    typer.echo(f"{root}: not signed")
    for place, channel, version in channels:
        typer.echo(f"  {place} {channel}: {version} 100 %")
    for where, why in problems.items():
        typer.secho(f"  {where}: {why}", err=True, fg="red")


def delegate(address: str, device_class: str, *, as_json: bool = False) -> None:
    """Delegate the channels of a device class to new keys of the key set."""
    from components.trust.setup import add_device_class

    check_part("device class", device_class)
    registry = _opened(address)

    def announce() -> None:
        registry.entry = record(registry.where, device_class, what="delegate", also=registry.logged())

    roles = add_device_class(registry, device_class, announce)
    if as_json:
        print_json({"registry": registry.where, "device_class": device_class, "delegated": list(roles)})
        return
    typer.echo(f"delegated: {', '.join(roles)}" if roles else f"{device_class}: its channels already have keys")
    for role in roles:
        typer.echo(f"key: {registry.keys.folder / f'{role}.pem'}")


def promote(release: str, channel: str, percent: float, *, as_json: bool = False) -> None:
    """Give a share of a channel's devices a release of the registry."""
    _echo(signed.promote(release, channel, round(percent * 100)), "promoted", as_json=as_json)


def roll_back(place: str, channel: str, *, as_json: bool = False) -> None:
    """Take back the newest release of a channel."""
    _echo(signed.change(place, channel, rollout.rolled_back, "rollback"), "rolled back", as_json=as_json)


def pause(place: str, channel: str, *, as_json: bool = False) -> None:
    """Stop the newest release of a channel from reaching more devices."""
    _echo(signed.change(place, channel, rollout.paused, "pause"), "paused", as_json=as_json)


def refresh(address: str, *, force: bool, accept_older: bool = False, as_json: bool = False) -> None:
    """Sign again roles that expire soon, and list roles that can't be signed here."""
    from components.trust.setup import renew

    registry = _opened(address)
    if accept_older:
        registry.accept_older()

    def announce(roles: tuple[str, ...]) -> None:
        registry.entry = record(registry.where, what="refresh", also=registry.logged(), roles=" ".join(roles))

    signed_again, missing = renew(
        registry, force=force or accept_older, newest_entry=newest(registry.where), announce=announce
    )
    if not as_json:
        typer.echo(f"signed again: {', '.join(signed_again)}" if signed_again else "nothing to sign again")
    for role, when in missing.items():
        remedy = "rotate a top-level role" if role == "root" else "refresh on the machine that has its key"
        typer.secho(
            f"{role} expires {when:%Y-%m-%d %H:%M} UTC, and was not signed again: {remedy}", err=True, fg="yellow"
        )
    renewed = registry.read()
    if as_json:
        print_json({
            "registry": registry.where,
            "signed_again": list(signed_again),
            "not_signed": {role: when.isoformat() for role, when in missing.items()},
            "expires": {
                "timestamp": renewed.timestamp.signed.expires.isoformat(),
                "snapshot": renewed.snapshot.signed.expires.isoformat(),
            },
        })  # fmt: skip
        return
    typer.echo(f"timestamp expires {renewed.timestamp.signed.expires:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"snapshot expires {renewed.snapshot.signed.expires:%Y-%m-%d %H:%M} UTC")


def print_public_keys(
    address: str, role: str, trust: Path | None = None, *, as_header: bool, as_json: bool = False
) -> None:
    """Print the public keys of a role, as PEM text or as a C header. This needs no private keys."""
    from components.push.upkeep.trusted import open_to_read

    check_exists(root := signed.normal(address))
    opened = open_to_read(root, trust)
    if opened is None:
        raise _not_signed(root)
    registry, anchored = opened
    keys = registry.public_keys(role)
    if as_json:
        held = [{"id": key.keyid, "type": key.keytype, "public": key.keyval["public"]} for key in keys]
        print_json({"registry": registry.where, "role": role, "anchored": anchored, "keys": held})
        return
    if not anchored:
        said = f"{root}: the keys are verified from its own first root (specify a trusted root.json with --trust)"
        typer.secho(said, err=True, fg="yellow")
    if not as_header:
        typer.echo("".join(key.keyval["public"] for key in keys), nl=False)
        return
    try:
        points = [point_of(key) for key in keys]
    except ValueError as error:
        raise RegistryError(
            "the checker of microcontrollers can't use this key",
            where=f"{registry.where}: {role}",
            bound="P-256 keys",
            measured=str(error),
            remedy="rotate the role to a P-256 key",
        ) from error
    lines = "\n".join("    {" + ", ".join(f"0x{byte:02x}" for byte in point) + "}," for point in points)
    typer.echo(
        f"/* The keys of {role} in {registry.where}. */\n"
        "#include <stdint.h>\n\n"
        f"#define EDGEMILL_KEY_COUNT {len(points)}\n"
        f"static const uint8_t EDGEMILL_KEYS[EDGEMILL_KEY_COUNT][{len(points[0])}] = {{\n{lines}\n}};"
    )


def rotate(
    address: str, role: str, public_key: Path | None, key: str | None, old: str | None, *, as_json: bool = False
) -> None:
    """Replace a key of a role."""
    from components.trust import setup

    if (public_key is None) != (key is None):
        raise SpecError(
            "a key that exists elsewhere needs its public part and its location",
            bound="both --public-key and --key, or neither",
            remedy="add the missing option",
        )
    registry = _opened(address)
    elsewhere = (public_key.read_bytes(), key) if public_key and key else None

    def begin() -> None:
        registry.entry = record(registry.where, role, what="rotate", also=registry.logged())

    replaced = setup.rotate(
        registry, role, elsewhere, lambda said: typer.secho(said, err=True, fg="yellow"), old, begin
    )
    registry.read()  # From now on, this machine refuses the root before.
    if as_json:
        print_json({"registry": registry.where, "role": role, "replaced": replaced})
        return
    typer.echo(f"{role}: the key {replaced[:12]}… is replaced; its file in {registry.keys.folder} can be removed")


def _opened(address: str) -> SignedRegistry:
    check_exists(signed.normal(address))
    registry = signed.open_signed(address)
    if registry is None:
        raise _not_signed(signed.normal(address))
    return registry


def _not_signed(root: str) -> RegistryError:
    return RegistryError("this registry is not signed", where=root, remedy="sign it with `edgemill registry init`")


def _echo(state: rollout.ChannelState, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(rollout.to_json(state))
        return
    typer.echo(f"{_line(state)}: {what}")


def _line(state: rollout.ChannelState) -> str:
    place = f"{state.device_class}/{state.name} {state.channel}"
    if state.channel == ARCHIVE:
        return f"{place}: {counted(len(state.history), 'release')} from before"
    return f"{place}: {rollout.described(state)}"
