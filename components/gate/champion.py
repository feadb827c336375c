"""Compares candidates with a device's champion, with the same checks and tests as for the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from components.facts.champion import Challenge, Challenger
from components.facts.decision import AgainstChampion, ChampionVerdict, Check, Requirement, Verdict
from components.facts.evaluation import CandidateReport
from components.facts.slices import overall
from components.gate.checks import bound_checks
from components.gate.evidence import Evidence
from components.gate.tools import TFLM
from components.spec.gate import GateSpec, MetricBound

CHAMPION = "champion"
_FROM = "the champion"


def champion_margins(policy: GateSpec, less_is_better: Mapping[str, bool]) -> Iterator[MetricBound]:
    """Yield the comparisons with the champion, as bounds on the change from it.

    Args:
        policy: The bounds that declare a margin from the champion apply. If none does, all bounds apply, with a margin
            of 0.
        less_is_better: Metric -> whether smaller values are better. For other metrics, the kind of bound
            shows it, unless it is a range.
    """
    declared = [bound for bound in policy.metrics if bound.names_champion]
    for bound in declared:
        yield _change(bound, bound.max_drop_from_champion, bound.max_rise_from_champion)
    known = set()
    for bound in () if declared else policy.metrics:
        less = less_is_better.get(bound.name, _direction(bound))
        # Several bounds on the same metric and slices are compared once.
        if less is not None and (place := (bound.name, frozenset(bound.slices))) not in known:
            known.add(place)
            yield _change(bound, None if less else 0.0, 0.0 if less else None)


def champion_checks(
    candidate: CandidateReport, challenge: Challenge, policy: GateSpec, less_is_better: Mapping[str, bool]
) -> list[tuple[Check, Evidence | None]]:
    """Compare a candidate with the champion; empty if there is nothing to compare.

    As for `components.gate.checks.bound_checks`, checks that can be tested come with their evidence.
    """
    one = _challenger(candidate, challenge)
    if one is None or one.same or challenge.champion.state != "found" or challenge.incomparable:
        return []
    there = challenge.on_device
    own_there = there.challengers.get(one.name) if there is not None else None
    compared = [(one.slices, challenge.slices, "")]
    if there is not None and own_there is not None:
        here, on_device = overall(challenge.slices), overall(there.slices)
        # As for bounds on changes from the baseline, metrics that cover all examples replace the desktop's.
        complete = here is not None and on_device is not None and on_device.examples >= here.examples
        compared = [*([] if complete else compared), (own_there, there.slices, f" on {TFLM}")]
    return [
        (check.model_copy(update={"quantity": f"{check.quantity} from {_FROM}{where}"}), evidence)
        for own, its, where in compared
        for bound in champion_margins(policy, less_is_better)
        for check, evidence in bound_checks(own, its, bound, policy, challenge.spans.get(bound.name), _FROM)
    ]


def requirement(candidate: CandidateReport, challenge: Challenge) -> Requirement | None:
    """What `champion: require` requires of a candidate that was not compared; None for a compared candidate."""
    champion, one = challenge.champion, _challenger(candidate, challenge)
    bound = "not worse than the champion"
    verdict: Verdict
    if champion.state == "none":
        measured, verdict = "the device has no release yet", "pass"
    elif champion.state == "unknown":
        measured, verdict = f"the champion is unknown: {why_not_compared(challenge)}", "not_enough_data"
    elif one is not None and one.same:
        measured, verdict = f"it is the champion, {champion.version}", "pass"
    elif challenge.incomparable:
        measured = (
            f"the champion {champion.version} cannot be compared: {challenge.incomparable}. Remedy: to replace it "
            "anyway, set `champion: report` until the first release"
        )
        verdict = "fail"
    elif one is None:
        measured, verdict = "this file was not compared with the champion", "not_enough_data"
    else:
        return None
    return Requirement(quantity=CHAMPION, scope=champion.device, bound=bound, measured=measured, verdict=verdict)


def why_not_compared(challenge: Challenge) -> str:
    """Why nothing was compared; empty if something was, or if every candidate is the champion."""
    match challenge.champion.state:
        case "none":
            return "the device has no release yet"
        case "unknown":
            return "; ".join(one.why for one in challenge.champion.sightings if one.state == "unknown")
        case _:
            return challenge.incomparable


def champion_verdict(
    candidates: Sequence[CandidateReport], checks: Sequence[Sequence[Check]], challenge: Challenge, policy: GateSpec
) -> ChampionVerdict | None:
    """Summarize how candidates compare with the champion; None if the policy doesn't compare.

    Args:
        candidates: The candidates.
        checks: For each candidate, the judged checks from `champion_checks`.
        challenge: The comparisons.
        policy: The policy.
    """
    if policy.champion == "none":
        return None
    champion = challenge.champion
    recipe = champion.recipe or {}
    return ChampionVerdict(
        mode=policy.champion,
        state=champion.state,
        version=champion.version,
        sha256=champion.sha256,
        path=champion.path,
        recipe=str(recipe.get("name", "")),
        scheme=str(recipe.get("scheme", {}).get("kind", "")),
        why=why_not_compared(challenge),
        notes=(*champion.notes, *_not_there(challenge)),
        candidates=tuple(
            _against(candidate, own, challenge) for candidate, own in zip(candidates, checks, strict=True)
        ),
    )


def _not_there(challenge: Challenge) -> Iterator[str]:
    if challenge.on_device is not None and challenge.on_device.why:
        yield f"not compared on {TFLM}: {challenge.on_device.why}"


def _against(candidate: CandidateReport, checks: Sequence[Check], challenge: Challenge) -> AgainstChampion:
    one = _challenger(candidate, challenge)
    if one is not None and one.same:
        return AgainstChampion(candidate=candidate.name, verdict="same")
    found = {check.verdict for check in checks}
    order: tuple[Verdict, ...] = ("fail", "not_enough_data", "pass")
    verdict = next((one for one in order if one in found), None)
    return AgainstChampion(candidate=candidate.name, verdict=verdict, checks=tuple(checks))


def _challenger(candidate: CandidateReport, challenge: Challenge) -> Challenger | None:
    """The comparison of a candidate's file; None if a different file was compared."""
    one = challenge.of(candidate.name)
    return one if one is not None and one.sha256 == candidate.sha256 else None


def _change(bound: MetricBound, drop: float | None, rise: float | None) -> MetricBound:
    return MetricBound(name=bound.name, slices=bound.slices, max_drop_from_baseline=drop, max_rise_from_baseline=rise)


def _direction(bound: MetricBound) -> bool | None:
    """Whether less of a bounded metric is better, as far as its bounds show."""
    more = bound.at_least is not None or bound.max_drop_from_baseline is not None
    less = bound.at_most is not None or bound.max_rise_from_baseline is not None
    return less if more != less else None
