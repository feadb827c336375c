"""The signed state of a channel, and which release a device gets from it. Imported on devices: standard library only.

A channel has stages, the newest first. A stage has a release and the share of devices that get it. A device takes the
first stage that covers it. Its position in a stage is a hash of its ID and the release, so it stays the same while the
share grows, and every roll-out begins with different devices. If the release of all devices is paused, devices that
don't have it get the one before.

Shares are integers in hundredths of a percent, because signed metadata can't contain fractions.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from components.trust.names import CUSTOM

_Kind = TypeVar("_Kind")

FULL_SHARE = 10_000
FORMAT = 1
# Role files of microcontrollers have 32 bits for these numbers.
LARGEST_SEQUENCE = LARGEST_FILE = 2**32 - 1
_MOST_STAGES = 4
LONGEST_HISTORY = 3


class RolloutError(ValueError):
    """A change that the state of a channel doesn't allow, or a state that can't be read.

    Attributes:
        bound: What the change needs.
        remedy: What to do instead.
    """

    def __init__(self, what: str, bound: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.bound, self.remedy = bound, remedy


@dataclass(frozen=True)
class ReleaseRef:
    """A release by its digests.

    Attributes:
        version: Name of its folder.
        sha256, bytes: Digest and size of the model.
        file, file_sha256, file_bytes: The file that devices fetch: the compressed form, or the model itself.
        statement: The in-toto statement about the model.
    """

    version: str
    sha256: str
    bytes: int
    file: str
    file_sha256: str
    file_bytes: int
    statement: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A release and the share of devices that get it. If the stage is paused, only devices that already have it."""

    release: ReleaseRef
    share: int = FULL_SHARE
    paused: bool = False


@dataclass(frozen=True)
class ChannelState:
    """The signed state of one channel of a pipeline and device class.

    Attributes:
        device_class, name, channel: Identify the channel.
        stages: The stages, newest first. Only the last one can cover all devices.
        history: Releases that covered all devices before, newest first.
        sequence: Number of the change that led to this state; 0 if it was signed by a version without sequences.
    """

    device_class: str
    name: str
    channel: str
    stages: tuple[Stage, ...] = ()
    history: tuple[ReleaseRef, ...] = ()
    sequence: int = 0

    @property
    def complete(self) -> ReleaseRef | None:
        """The release of all devices that no roll-out covers, or None if there isn't one."""
        return self.stages[-1].release if self.stages and self.stages[-1].share == FULL_SHARE else None

    @property
    def named(self) -> ReleaseRef:
        """The release in the signed pointer: that of all devices, or else the newest one."""
        return self.complete or (self.stages[0].release if self.stages else self.history[0])

    @property
    def instead(self) -> ReleaseRef | None:
        """The release that devices get instead of a paused one of all devices; None without an earlier one."""
        is_paused = self.complete is not None and self.stages[-1].paused
        return self.history[0] if is_paused and self.history else None

    @property
    def given(self) -> tuple[ReleaseRef, ...]:
        """The releases that some device gets."""
        return (*(stage.release for stage in self.stages), *((self.instead,) if self.instead else ()))


def place_of_device(device_id: str, version: str) -> int:
    """The position of a device in a roll-out, from 0 to 9,999."""
    digest = hashlib.sha256(f"{version}\0{device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * FULL_SHARE >> 64


def choose(state: ChannelState, device_id: str, running: str | None) -> ReleaseRef | None:
    """The release that a device gets; None if the channel has none for it.

    Args:
        state: The channel.
        device_id: Any text that identifies the device and doesn't change.
        running: Version that the device runs.
    """
    for stage in state.stages:
        if place_of_device(device_id, stage.release.version) >= stage.share:
            continue
        if not stage.paused or stage.release.version == running:
            return stage.release
    return state.instead


def released(state: ChannelState, release: ReleaseRef, share: int = FULL_SHARE) -> ChannelState:
    """The state after a release gets a share of the devices. A release that is already a stage keeps its position.

    If all devices get the release already, a smaller share returns the others to the release before.
    """
    if not 0 < share <= FULL_SHARE:
        raise RolloutError(f"{share / 100:g} is no share in percent", "0.01 to 100", "correct --percent")
    versions, stage = [stage.release.version for stage in state.stages], Stage(release, share)
    position = versions.index(release.version) if release.version in versions else 0
    newer, below = state.stages[:position], tuple(one for one in state.stages if one.release.version != release.version)
    if share == FULL_SHARE:
        before = state.complete
        kept = (*((before,) if before and before.version != release.version else ()), *state.history)
        unique = {one.version: one for one in reversed(kept) if one.version != release.version}
        history = tuple(reversed(unique.values()))[:LONGEST_HISTORY]
        return dataclasses.replace(state, stages=(*newer, stage), history=history)
    if position:
        raise RolloutError(
            f"{release.version} is below the newer roll-out of {versions[0]}",
            "a new release, or the newest roll-out",
            f"roll back {versions[0]} first, or give {release.version} to all other devices with --percent 100",
        )
    if state.complete is not None and state.complete.version == release.version:
        if not state.history:
            raise RolloutError(
                f"all devices get {release.version}",
                "an earlier release, which the others would return to",
                "pause it instead, so that no further device gets it",
            )
        return dataclasses.replace(state, stages=(stage, Stage(state.history[0])), history=state.history[1:])
    if len(below) >= _MOST_STAGES:
        raise RolloutError(
            f"the channel already serves {len(below)} releases",
            f"fewer than {_MOST_STAGES}",
            "raise a roll-out to 100 percent, or roll one back first",
        )
    return dataclasses.replace(state, stages=(stage, *below))


def rolled_back(state: ChannelState) -> ChannelState:
    """The state before its newest release.

    Devices that got the newest release must get another one. So if only a paused release is left, it is resumed.
    """
    if len(state.stages) > 1:
        before = dataclasses.replace(state, stages=state.stages[1:])
        if len(before.stages) == 1 and before.complete is not None and before.instead is None:
            return dataclasses.replace(before, stages=(Stage(before.complete),))
        return before
    if not state.history:
        raise RolloutError(
            "there is no earlier release",
            "a release that all devices got before",
            "promote another release, or pause the roll-out",
        )
    return dataclasses.replace(state, stages=(Stage(state.history[0]),), history=state.history[1:])


def paused(state: ChannelState) -> ChannelState:
    """The state in which no further device gets the newest release."""
    if not state.stages:
        raise RolloutError("there is no release", "a release that some devices get", "promote a release first")
    return dataclasses.replace(state, stages=(dataclasses.replace(state.stages[0], paused=True), *state.stages[1:]))


def described(state: ChannelState) -> str:
    """What devices get, for people."""
    stages = [
        f"{stage.release.version} {stage.share / 100:g} %{' (paused)' if stage.paused else ''}"
        for stage in state.stages
    ]
    instead = f"; other devices get {state.instead.version}" if state.instead else ""
    return f"{', then '.join(stages) or 'no release'}{instead}"


def to_json(state: ChannelState) -> dict[str, Any]:
    """The state in the form of signed metadata, without tuples."""
    return {"format": FORMAT, **_plain(dataclasses.asdict(state))}


def from_custom(custom: object) -> ChannelState:
    """The state in the custom metadata of a target. Raises a RolloutError if this version can't read it."""
    if not isinstance(custom, dict):
        raise RolloutError("the target doesn't contain the state of a channel")
    return from_json(custom.get(CUSTOM))


def from_json(value: Any) -> ChannelState:
    """The state from signed metadata. Unknown fields are ignored, so that newer registries can add fields.

    Raises:
        RolloutError: This version can't read it.
    """
    try:
        if value["format"] != FORMAT:
            raise RolloutError(f"the channel has format {value['format']!r:.20}, and this version reads {FORMAT}")
        stages = tuple(
            Stage(_release(one["release"]), _number(one["share"], 1, FULL_SHARE), _is(bool, one["paused"]))
            for one in _is(list, value["stages"])
        )
        return ChannelState(
            device_class=_is(str, value["device_class"]),
            name=_is(str, value["name"]),
            channel=_is(str, value["channel"]),
            stages=stages,
            history=tuple(map(_release, _is(list, value["history"]))),
            sequence=_number(value.get("sequence", 0), 0, LARGEST_SEQUENCE),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, RolloutError):
            raise
        raise RolloutError(f"the channel's state cannot be read: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """Tuples as lists: signed metadata is compared as JSON."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _release(value: Any) -> ReleaseRef:
    return ReleaseRef(
        version=_is(str, value["version"]),
        sha256=_is(str, value["sha256"]),
        bytes=_number(value["bytes"], 0, LARGEST_FILE),
        file=_is(str, value["file"]),
        file_sha256=_is(str, value["file_sha256"]),
        file_bytes=_number(value["file_bytes"], 0, LARGEST_FILE),
        statement=_is(dict, value["statement"]),
    )


def _is(kind: type[_Kind], value: Any) -> _Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value


def _number(value: Any, least: int, most: int) -> int:
    # JSON's true is an integer in Python.
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"not an integer from {least} to {most}")
    return value
