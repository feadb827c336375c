"""What the role of a channel may sign: the states of its channel, each at a target of its own.

Whoever has the key of a role can sign anything with it. Devices look at one target only, so that they ignore the rest.
Everything else that reads or signs a role must not take the rest for what it says.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuf.api.metadata import TargetFile, Targets

from components.core.errors import RegistryError
from components.trust import rollout
from components.trust.names import CUSTOM, role_of, target_of
from components.trust.rollout import ChannelState, RolloutError


def state_of(target: TargetFile) -> ChannelState:
    """The state of a channel that a target holds. Raises a RolloutError if it holds none that this version can read."""
    custom = target.unrecognized_fields.get("custom")
    if not isinstance(custom, dict):
        raise RolloutError("the target holds no state of a channel")
    return rollout.from_json(custom.get(CUSTOM))


def examined(role: str, signed: Targets) -> Iterator[tuple[str, ChannelState | RolloutError]]:
    """Yield each target of a role with its state, or with the reason why it isn't one that the role may sign."""
    device_class, _, channel = role.rpartition(".")
    for path, target in signed.targets.items():
        try:
            state = state_of(target)
            if (state.device_class, state.channel) != (device_class, channel):
                raise RolloutError(f"it is about the channel {state.channel} of {state.device_class}")
            if path != target_of(device_class, state.name, channel):
                raise RolloutError(f"it is about {state.name}")
            if "sha256" not in target.hashes:
                raise RolloutError("its pointer has no SHA-256 digest")
        except RolloutError as error:
            yield path, error
        else:
            yield path, state


def problems(role: str, signed: Targets) -> dict[str, str]:
    """Map the targets of a role that it may not sign, or that can't be read, to the reasons."""
    return {path: str(found) for path, found in examined(role, signed) if isinstance(found, RolloutError)}


def channel_in(role: Targets | None, device_class: str, name: str, channel: str, where: str) -> ChannelState:
    """The state of a channel in its role, with no stages if nothing was released.

    Raises:
        RegistryError: It is signed, but can't be used.
    """
    path = target_of(device_class, name, channel)
    found = dict(examined(role_of(device_class, channel), role)).get(path) if role else None
    if isinstance(found, RolloutError):
        raise RegistryError(
            f"the channel is signed, but can't be used: {found}",
            where=f"{where}: {path}",
            remedy="update edgemill; if this is the newest version, somebody else has the key: replace it with"
            " `edgemill registry rotate`, which drops this target, and push again",
        )
    return found or ChannelState(device_class, name, channel)


def next_sequence(before: ChannelState, role: Targets | None, where: str) -> int:
    """The number of the next change of a channel, which no microcontroller has seen.

    A state that is new, or was dropped, continues after the version of its role, because each change of a channel is
    one of its role.

    Raises:
        RegistryError: No larger number is left.
    """
    last = before.sequence or min(role.version if role else 0, rollout.LARGEST_SEQUENCE // 2)
    if last >= rollout.LARGEST_SEQUENCE:
        raise RegistryError(
            "the channel can't be changed any more: the role files of microcontrollers hold no larger number",
            where=f"{where}: {target_of(before.device_class, before.name, before.channel)}",
            bound=f"fewer than {rollout.LARGEST_SEQUENCE:,} changes",
            remedy="somebody else has the key: rotate it with `edgemill registry rotate`, which restarts the number",
        )
    return last + 1
