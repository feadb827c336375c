"""The champion of a device, which is its last release, and how candidates compare with it."""

from __future__ import annotations

from typing import Any, Literal

from components.core.values import FrozenModel
from components.facts.evaluation import SliceResult


class Sighting(FrozenModel):
    """The information of one registry about a device's last release.

    Attributes:
        registry: The registry and its channel.
        state: `unknown` if the registry can't be reached, or its content is damaged.
        version: The release that the channel names; None without one.
        content: Digest of the parts of that release that matter for a comparison: its model, recipe, profile, and
            classes. A push of the same bytes after another decision changes its manifest, but not this digest.
        why: Why the state is unknown; empty otherwise.
    """

    registry: str
    state: Literal["found", "none", "unknown"]
    version: str | None = None
    content: str | None = None
    why: str = ""


class Champion(FrozenModel):
    """The last release of a device.

    Attributes:
        device: Name of the device profile.
        state: `found` in a registry; `none` if no registry has a release for the device; `unknown` if none is found,
            and a registry can't be read.
        sha256, bytes: Digest and size of its model.
        version, path: Its version, and its address in the first registry that has it.
        recipe: Snapshot of its recipe, as JSON.
        incomparable: Why metrics of the champion aren't comparable with those of candidates, judging by its
            manifest; empty if they are.
        notes: What else to keep in mind.
        sightings: The information of each registry, in the order of the pipeline file.
    """

    device: str
    state: Literal["found", "none", "unknown"]
    sha256: str | None = None
    bytes: int | None = None
    version: str | None = None
    path: str | None = None
    recipe: dict[str, Any] | None = None
    incomparable: str = ""
    notes: tuple[str, ...] = ()
    sightings: tuple[Sighting, ...] = ()


class Challenger(FrozenModel):
    """The comparison of one candidate with the champion.

    Attributes:
        name: Name of the recipe.
        sha256: Digest of the candidate's file; None without one.
        same: Whether this is the champion's file, which is neither better nor worse than itself.
        slices: Its metrics on each slice. Changes and flips are relative to the champion. Empty if nothing was
            compared.
    """

    name: str
    sha256: str | None = None
    same: bool = False
    slices: tuple[SliceResult, ...] = ()


class DeviceChallenge(FrozenModel):
    """The comparison under TensorFlow Lite Micro, on the first examples that the champion and all candidates ran there.

    Attributes:
        why: Why nothing was compared; empty if something was.
        slices: Metrics of the champion on each slice.
        challengers: Name of a candidate -> its metrics on each slice. Changes and flips are relative to the champion.
    """

    why: str = ""
    slices: tuple[SliceResult, ...] = ()
    challengers: dict[str, tuple[SliceResult, ...]] = {}


class Challenge(FrozenModel):
    """The comparison of all candidates with the champion of one device, on the same examples.

    Attributes:
        champion: The champion.
        incomparable: Why nothing was compared although there is a champion; empty otherwise.
        slices: Metrics of the champion on each slice. Empty if nothing was compared.
        challengers: The candidates, in the order of the pipeline file.
        spans: As in `components.facts.evaluation.EvaluationReport`.
        on_device: The same under TensorFlow Lite Micro; None for a device without this evaluator, and if the champion
            isn't compared with anything.
    """

    champion: Champion
    incomparable: str = ""
    slices: tuple[SliceResult, ...] = ()
    challengers: tuple[Challenger, ...] = ()
    spans: dict[str, float] = {}
    on_device: DeviceChallenge | None = None

    def of(self, name: str) -> Challenger | None:
        """The challenger of a name, or None."""
        return next((one for one in self.challengers if one.name == name), None)
