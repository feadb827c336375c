"""`edgemill registry verify`, `gc`, `repair`, `mirror`, and `audit`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import typer

from components.core.errors import RegistryError, RegistryUnreachableError, SpecError, TamperedError, counted
from components.core.values import FrozenModel
from components.push.audit import read_log
from components.push.beside import check_exists, normal_root
from components.push.upkeep.check import Problem
from components.push.upkeep.check import verify as verify_registry
from components.push.upkeep.collect import collect
from components.push.upkeep.mirror import mirror
from components.push.upkeep.opening import check_registry, holdings_at, no_registry
from components.push.upkeep.repair import repair
from components.push.upkeep.retention import Retention
from components.push.upkeep.trusted import read_trusted
from edgemill.contract import print_json
from edgemill.progress import WorkProgress
from edgemill.terminal import terminal

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def print_health(
    root: str, places: tuple[str, ...], trust: Path | None, contains: str | None, *, as_json: bool
) -> None:
    """Verify a registry, and print the findings. Raises a RegistryError if something is damaged."""
    checked = checked_places(places)
    with WorkProgress(terminal(), "listing the registry") as watch:
        found = verify_registry(root, checked, trust, contains, watch)
    if not (found.signed or found.problems or found.places or found.entries):
        raise no_registry(found.registry, len(found.strangers))
    if as_json:
        _echo_json(found, intact=not found.problems)
    else:
        for problem in found.problems:
            typer.echo(_broken(problem, found.registry))
        for name in found.incomplete:
            typer.echo(f"incomplete, no device sees it: {name}")
        for name in found.strangers:
            typer.echo(f"not from a push: {name}")
        signed = "signed" if found.signed else "no signature is accepted" if found.refused else "not signed"
        if found.signed and not found.anchored:
            signed += ", verified from its own first root (specify a trusted root.json with --trust)"
        typer.echo(
            f"{found.registry}: {signed}; {counted(found.releases, 'release')} in {counted(found.places, 'place')},"
            f" {counted(found.files, 'file')}, {found.bytes:,} bytes, {counted(found.channels, 'channel')}:"
            f" {'all intact' if not found.problems else counted(len(found.problems), 'problem')}"
        )
        if found.last_entry:
            until = _until(found.signed_entry, found.last_entry)
            typer.echo(f"audit log: {counted(found.entries, 'change')}, last {found.last_entry}{until}")
    _raise(found.problems, "this registry is damaged", found.registry, "restore it: `edgemill registry repair --from`")


def collect_garbage(
    root: str,
    keep_last: int | None,
    max_age: str | None,
    grace: str,
    places: tuple[str, ...],
    trust: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove files that no release needs, and list them."""
    retention = Retention(keep_last=keep_last, max_age=None if max_age is None else seconds(max_age, "--max-age"))
    young, checked = seconds(grace, "--grace"), checked_places(places)
    with WorkProgress(terminal(), "listing the registry") as watch:
        done = collect(root, retention, young, checked, trust, dry_run=dry_run, watch=watch)
    if as_json:
        _echo_json(done, dry_run=dry_run)
        return
    verb = "would remove" if dry_run else "removed"
    for one in done.removed:
        typer.echo(f"{verb} {one.what}: {one.where}")
    kept = f"; {done.kept_young} younger than {grace}" if done.kept_young else ""
    kept += f"; {counted(done.kept_unknown, 'release')} of unknown age kept" if done.kept_unknown else ""
    size = "" if done.bytes is None else f", {done.bytes:,} bytes"
    if size and any(one.bytes is None for one in done.removed):
        size += " and some of unknown size"
    typer.echo(f"{done.registry}: {verb} {counted(len(done.removed), 'item')}{size}{kept}")


def repair_registry(
    root: str,
    sources: tuple[str, ...],
    places: tuple[str, ...],
    trust: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Restore damaged files, and list them. Raises a RegistryError if something remains damaged."""
    checked = checked_places(places)
    with WorkProgress(terminal(), "listing the registry") as watch:
        done = repair(root, sources, checked, trust, dry_run=dry_run, watch=watch)
    if as_json:
        _echo_json(done, dry_run=dry_run)
    else:
        for name in done.restored:
            typer.echo(f"{'would restore' if dry_run else 'restored'} {name}")
        for name in done.completed:
            typer.echo(f"{'would complete' if dry_run else 'completed'} {name}")
        for name in done.incomplete:
            typer.echo(f"incomplete, `gc` removes it: {name}")
        for problem in done.problems:
            typer.echo(_broken(problem, done.registry))
        typer.echo(f"{done.registry}: {counted(len(done.restored), 'item')} restored")
    _raise(done.problems, "this registry is still damaged", done.registry, "choose other sources with --from")


def mirror_registry(
    source: str, target: str, places: tuple[str, ...], trust: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """Copy a registry, and list the copied releases. Raises a RegistryError if something couldn't be copied."""
    checked = checked_places(places)
    with WorkProgress(terminal(), "listing the registry") as watch:
        done = mirror(source, target, checked, trust, dry_run=dry_run, watch=watch)
    if as_json:
        _echo_json(done, dry_run=dry_run)
    else:
        verb = "would copy" if dry_run else "copied"
        for name in done.copied:
            typer.echo(f"{verb} {name}")
        for name in done.pointed:
            typer.echo(f"{'would point' if dry_run else 'pointed'} {name}")
        for problem in done.problems:
            typer.echo(_broken(problem, done.source))
        typer.echo(
            f"{done.target}: {verb} {counted(len(done.copied), 'release')}, {done.bytes:,} bytes;"
            f" {done.unchanged:,} unchanged; {'signed' if done.signed else 'not signed'}"
        )
    _raise(done.problems, "some of this registry was not copied", done.source, "repair the source, then run again")


def print_log(root: str, contains: str | None, trust: Path | None, *, as_json: bool) -> None:
    """Print the audit log. Raises a TamperedError if it was changed."""
    root = normal_root(root)
    check_exists(root)
    signed, refused = "", ""
    try:
        trusted = read_trusted(root, trust)
        signed = trusted.reading.found.log_entry if trusted else ""
    except RegistryUnreachableError:
        raise
    except RegistryError as error:
        refused = str(error)
    log = read_log(root, contains, signed)
    if not (log.entries or log.problems or refused):
        check_registry(holdings_at(root))
    if refused:
        log = log.model_copy(update={"problems": (*log.problems, refused)})
    if as_json:
        entries = [{"name": name, **one.model_dump(mode="json")} for name, one in log.entries.items()]
        content = {
            "registry": root, "entries": entries, "heads": log.heads, "signed": signed, "problems": log.problems
        }  # fmt: skip
        print_json(content)
    else:
        for one in log.entries.values():
            details = " ".join(f"{name}={value}" for name, value in one.details.items())
            line = f"{one.time:%Y-%m-%d %H:%M:%S} UTC {one.who}: {one.what} {one.where} {details}"
            typer.echo(line.rstrip())
        for problem in log.problems:
            typer.echo(f"BROKEN {problem}")
        last = log.heads[-1] if log.heads else "none"
        typer.echo(f"{root}: {counted(len(log.entries), 'change')}, last {last}{_until(signed, last)}")
    if log.problems:
        raise TamperedError(
            "the audit log was changed",
            where=root,
            measured="; ".join(log.problems),
            remedy="find out who changed it; compare it with a mirror",
        )


def _until(signed: str, last: str) -> str:
    """Describe which part of the audit log is signed."""
    if not signed:
        return ""
    return ", signed" if signed == last else f", signed until {signed}"


def seconds(text: str, option: str) -> float:
    """The number of seconds in a duration such as 30s, 90m, 2h, or 7d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise SpecError(
            "this is not a time",
            where=option,
            bound="a number with s, m, h, or d, such as 12h or 7d",
            measured=text,
            remedy="correct the option",
        )
    return float(match[1]) * _UNITS[match[2]]


def _echo_json(result: FrozenModel, **more: bool) -> None:
    print_json({**result.model_dump(mode="json"), **more})


def checked_places(places: tuple[str, ...]) -> tuple[str, ...]:
    """Return places. Raises a SpecError if one isn't `<device class>/<name>`."""
    for place in places:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*", place):
            raise SpecError(
                "this is not a place in a registry",
                where="--place",
                bound="DEVICE_CLASS/NAME",
                measured=place,
                remedy="specify the device class and the pipeline",
            )
    return places


def _broken(problem: Problem, root: str) -> str:
    """A problem as a line. Its place below the registry comes once, although most messages begin with it."""
    message = problem.message.removeprefix(f"{root}/")
    return f"BROKEN {message}" if message.startswith(problem.where) else f"BROKEN {problem.where}: {message}"


def _raise(problems: Sequence[Problem], what: str, where: str, remedy: str) -> None:
    if problems:
        found = counted(len(problems), "problem") + ", each with its place above"
        raise RegistryError(what, where=where, measured=found, remedy=remedy)
