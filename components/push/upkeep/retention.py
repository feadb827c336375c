"""Decides which releases a registry keeps. A release that a channel names, or can return to, is always kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from components.core.values import FrozenModel


class Retention(FrozenModel):
    """A policy. Without any bound, all releases are kept.

    Attributes:
        keep_last: Number of the newest releases of each place to keep.
        max_age: Releases that were pushed less than this many seconds ago are kept.
    """

    keep_last: int | None = None
    max_age: float | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether any release can be removed."""
        return self.keep_last is not None or self.max_age is not None


def outdated(
    retention: Retention, pushed: Sequence[tuple[str, float]], referenced: Collection[str], now: float
) -> tuple[str, ...]:
    """Return the versions of one place that the policy doesn't keep, oldest first.

    Args:
        retention: The policy. With both bounds, a release is removed only if neither of them keeps it.
        pushed: Each version, and the time of its last push, in seconds since the epoch; oldest first.
        referenced: The versions that channels name, or can return to.
        now: The current time.
    """
    if not retention.is_bounded:
        return ()
    newest = {version for version, _ in pushed[max(0, len(pushed) - (retention.keep_last or 0)) :]}
    return tuple(
        version
        for version, when in pushed
        if version not in referenced
        and version not in newest
        and (retention.max_age is None or now - when > retention.max_age)
    )
