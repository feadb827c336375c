"""Ranks examples by how much a candidate's outputs differ from the baseline's. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Flip = Literal["", "lost", "gained"]
Form = Literal["", "scores", "share"]

# Maximum number of values to show of an output.
_MOST_VALUES = 6


@dataclass(frozen=True)
class Ranked:
    """One example.

    Attributes:
        flip, distance, target, before, after: As in `components.facts.changes.ChangedExample`.
        row: Identifies the example to the caller.
    """

    flip: Flip
    distance: float
    target: str
    before: str
    after: str
    row: Any

    @property
    def key(self) -> tuple[bool, float]:
        """Sorts the worst example last."""
        return self.flip == "lost", self.distance


@dataclass
class Ranking:
    """Collects the examples that changed most.

    Attributes:
        most: Number of examples to keep.
        classes: Names of classes, if they have names.
        examples, answered, lost, gained: As in `components.facts.changes.Changes`.
        worst: The worst examples so far, the worst first.
    """

    most: int
    classes: Sequence[str] = ()
    examples: int = 0
    answered: int | None = None
    lost: int | None = None
    gained: int | None = None
    worst: list[Ranked] = field(default_factory=list)
    # For each output, from the first batch: its scale, and how it encodes a class.
    _scales: dict[str, float] = field(default_factory=dict)
    _forms: dict[str, Form] = field(default_factory=dict)

    def add(
        self, before: Mapping[str, Array], after: Mapping[str, Array], targets: Mapping[str, Array], rows: Sequence[Any]
    ) -> None:
        """Add N examples.

        Args:
            before, after: Output -> values of the baseline and of the candidate, [N, ...].
            targets: Output -> target [N, ...]; "" names the only output. An output can lack a target.
            rows: Identify the examples, N values.
        """
        count = len(rows)
        self.examples += count
        names = [name for name in before if name in after and before[name].shape == after[name].shape]
        distances, flips = np.zeros(count), np.zeros(count, int)
        for name in names:
            distances += self._distance(name, before[name], after[name])
            target = targets.get(name, targets.get("") if len(before) == 1 else None)
            wanted = None if target is None else _wanted(target, before[name])
            form = self._forms.setdefault(name, _form(before[name], wanted is not None))
            if not form:
                continue
            old, new = _classes(before[name], form), _classes(after[name], form)
            self.answered = (self.answered or 0) + int((old != new).sum())
            if wanted is not None:
                lost, gained = (old == wanted) & (new != wanted), (old != wanted) & (new == wanted)
                self.lost, self.gained = (self.lost or 0) + int(lost.sum()), (self.gained or 0) + int(gained.sum())
                flips = np.where(lost, 1, np.where(gained & (flips == 0), -1, flips))
        # Only the worst of this batch can be among the worst of all.
        order = np.lexsort((-distances, flips != 1))[: self.most]
        found = [self._ranked(index, distances, flips, names, before, after, targets, rows) for index in order]
        changed = [one for one in found if one.distance > 0]
        self.worst = sorted([*self.worst, *changed], key=lambda one: one.key, reverse=True)[: self.most]

    def _ranked(
        self, index: int, distances: Array, flips: Array, names: Sequence[str], before: Any, after: Any, targets: Any,
        rows: Sequence[Any],
    ) -> Ranked:  # fmt: skip
        flip: dict[int, Flip] = {1: "lost", -1: "gained", 0: ""}
        return Ranked(
            flip=flip[int(flips[index])],
            distance=float(distances[index]),
            target=_joined({name: self._target(values[index]) for name, values in targets.items()}),
            before=_joined({name: self._answer(before[name][index]) for name in names}),
            after=_joined({name: self._answer(after[name][index]) for name in names}),
            row=rows[index],
        )

    def _distance(self, name: str, before: Array, after: Array) -> Array:
        if before.dtype.kind not in "biuf":
            return np.asarray((before != after).reshape(len(before), -1).any(axis=1), float)
        old, new = (np.nan_to_num(each.astype(np.float64)).reshape(len(each), -1) for each in (before, after))
        # The scale of the first batch applies to all batches.
        scale = self._scales.setdefault(name, float(np.mean(np.square(old).sum(axis=1))) or 1.0)
        return np.asarray(np.sqrt(np.square(new - old).sum(axis=1) / scale))

    def _answer(self, values: Array) -> str:
        flat = np.asarray(values).reshape(-1)
        if np.ndim(values) == 1 and flat.size > 1 and flat.dtype.kind == "f":
            best = int(flat.argmax())
            return f"{self._class(best)} ({flat[best]:.3g})"
        return _values(flat)

    def _target(self, values: Array) -> str:
        flat = np.asarray(values).reshape(-1)
        if flat.size == 1 and flat.dtype.kind in "iu":
            return self._class(int(flat[0]))
        if flat.size > 1 and _is_one_hot(flat[None]):
            return self._class(int(flat.argmax()))
        return _values(flat)

    def _class(self, number: int) -> str:
        return f"{number} {self.classes[number]}" if 0 <= number < len(self.classes) else str(number)


def _form(values: Array, compared: bool) -> Form:
    """How an output encodes a class.

    `scores` has a value for each class: they are compared with a class, or add up to 1. `share` has one value between 0
    and 1. Other outputs encode no class.
    """
    if values.dtype.kind != "f":
        return ""
    if values.ndim == 2 and values.shape[1] > 1:
        return "scores" if compared or np.allclose(values.sum(axis=1), 1, atol=1e-2) else ""
    single = values.size == len(values) and values.size > 0
    return "share" if single and values.min() >= 0 and values.max() <= 1 else ""


def _classes(values: Array, form: Form) -> Array:
    """The class that each example gets, [N]."""
    return np.asarray(values.argmax(axis=1) if form == "scores" else values.reshape(len(values)) >= 0.5, int)


def _wanted(target: Array, values: Array) -> Array | None:
    """The correct class of each example, [N]; None if the target isn't a class."""
    flat = target.reshape(len(target), -1)
    if flat.shape[1] == 1 and target.dtype.kind in "iub":
        return flat[:, 0].astype(int)
    if flat.shape[1] == 1 and values.reshape(len(values), -1).shape[1] == 1 and np.isin(flat, (0, 1)).all():
        return flat[:, 0].astype(int)
    if target.shape == values.shape and flat.shape[1] > 1 and _is_one_hot(flat):
        return np.asarray(flat.argmax(axis=1))
    return None


def _is_one_hot(values: Array) -> bool:
    return bool(values.dtype.kind in "biuf" and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


def _values(flat: Array) -> str:
    shown = ", ".join(f"{one:.4g}" if flat.dtype.kind == "f" else str(one) for one in flat[:_MOST_VALUES].tolist())
    return shown + (", …" if flat.size > _MOST_VALUES else "")


def _joined(texts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" if len(texts) > 1 else text for name, text in texts.items())
