"""All facts of a model card as one typed value, which is also a JSON file with a versioned schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from components.core.errors import ModelError
from components.core.values import FrozenModel
from components.facts.conversion import Converted, OperatorUse, TensorFact
from components.facts.decision import ChampionVerdict, Check, Decision, Requirement
from components.facts.evaluation import CandidateReport, Latency, SliceResult
from components.facts.explanation import Explanation
from components.facts.streaming import StreamingContract
from components.spec.card import CardSpec
from components.spec.devices.device import DeviceProfile
from components.spec.recipe import Recipe


class CardFacts(FrozenModel):
    """The facts about the model that a gate chose for a device.

    New fields don't change `format`. Renaming or removing a field, or changing its meaning, increments it.

    Attributes:
        format: Version of this schema.
        name: Name of the pipeline.
        device, device_class, device_description: The device profile.
        sha256, bytes: Digest and size of the model's file.
        compressed_bytes: Its size as served, under gzip.
        recipe: How it was made from the baseline.
        inputs, outputs: Its inputs and outputs.
        operators: Its operators.
        float_tensors: Number of its float tensors; 0 if it has only integers.
        streaming: How to run a model of one time step; None for any other model.
        baseline: Metrics of the float baseline on each slice.
        slices: Metrics of the model on each slice, and their change from the baseline.
        saturated: Fraction of output values at an end of their integer range; None if it can't be measured.
        latency: Time on the host that evaluated it, relative to the float model; None without one.
        why: Why the gate chose this model.
        decide_on, alpha: How the gate compared metrics with their bounds.
        checks: Everything that the gate compared.
        champion: The previous release, and how the model compares with it; None if it was not compared.
        explanation: The errors of its layers; None for a float model.
        digests: Role -> SHA-256 of what it was made from.
        about: Facts that only people know.
    """

    format: Literal[1] = 1
    name: str
    device: str
    device_class: str
    device_description: str
    sha256: str
    bytes: int
    compressed_bytes: int | None = None
    recipe: Recipe
    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    operators: tuple[OperatorUse, ...]
    float_tensors: int
    streaming: StreamingContract | None = None
    baseline: tuple[SliceResult, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    saturated: float | None = None
    latency: Latency | None = None
    why: str
    decide_on: str
    alpha: float | None = None
    checks: tuple[Check | Requirement, ...] = ()
    champion: ChampionVerdict | None = None
    explanation: Explanation | None = None
    digests: dict[str, str] = {}
    about: CardSpec = CardSpec()


def card_facts(
    name: str,
    device: DeviceProfile,
    candidate: CandidateReport,
    decision: Decision,
    *,
    baseline: Sequence[SliceResult] = (),
    explanation: Explanation | None = None,
    digests: Mapping[str, str] | None = None,
    about: CardSpec = CardSpec(),  # noqa: B008 - it is immutable
) -> CardFacts:
    """Collect the facts about the candidate that a decision chose.

    Args:
        name: Name of the pipeline.
        device: The device profile that the decision is for.
        candidate: The chosen candidate.
        decision: The decision.
        baseline: Metrics of the float baseline.
        explanation: Explanation of the candidate.
        digests: Role -> SHA-256 of what it was made from.
        about: Facts that only people know.

    Raises:
        ModelError: The decision chose another candidate, or none, or the candidate has no file.
    """
    outcome = candidate.outcome
    if not isinstance(outcome, Converted) or candidate.sha256 is None or decision.chosen != candidate.name:
        raise ModelError(
            "only the candidate that a gate chose has a model card",
            where=device.name,
            bound=decision.chosen or "nothing",
            measured=candidate.name,
            remedy="specify the candidate that the decision chose",
        )
    found = outcome.inspection
    return CardFacts(
        name=name,
        device=device.name,
        device_class=device.device_class,
        device_description=device.description,
        sha256=candidate.sha256,
        bytes=found.file_bytes,
        compressed_bytes=candidate.compressed.gzip if candidate.compressed else None,
        recipe=candidate.recipe,
        inputs=found.inputs,
        outputs=found.outputs,
        operators=found.operators,
        float_tensors=len(found.float_tensors),
        streaming=outcome.streaming,
        baseline=tuple(one.shown for one in baseline),
        slices=tuple(one.shown for one in candidate.slices),
        saturated=candidate.saturated,
        latency=candidate.latency,
        why=decision.why,
        decide_on=decision.decide_on,
        alpha=decision.alpha,
        checks=next(one.checks for one in decision.candidates if one.candidate == decision.chosen),
        champion=_champion(decision),
        explanation=explanation,
        digests=dict(digests or {}),
        about=about,
    )


def _champion(decision: Decision) -> ChampionVerdict | None:
    """How the chosen candidate compares with another release, without facts about other candidates."""
    found = decision.champion
    own = found.of(decision.chosen) if found is not None and decision.chosen is not None else None
    if found is None or own is None or own.verdict in {None, "same"}:
        return None
    # A release in a different location is still the same release.
    return found.model_copy(update={"candidates": (own,), "path": None, "notes": ()})
