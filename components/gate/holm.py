"""Judges the tests of all candidates together: the probability of blessing one that breaks a bound is at most alpha.

Two corrections by Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 6:65-70. One is within a candidate, over its tests on all slices, so that you can trust a pass on any slice.
The other is between candidates, because the more there are, the more likely one of them looks good by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.facts.decision import BoundTest, Check, Verdict
from components.gate.evidence import Evidence

# Checks in their order, each with its evidence; None if a bound can't be tested.
Tested = Sequence[tuple[Check, Evidence | None]]


def corrected(p_values: Sequence[float]) -> list[float]:
    """Return the p-values with Holm's correction, in the same order."""
    found, so_far = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[index]))
        found[index] = so_far
    return found


def judged(candidates: Sequence[Tested], eligible: Sequence[bool], alpha: float) -> list[list[Check]]:
    """Return the checks of each candidate with their verdicts.

    Args:
        candidates: The checks of each candidate.
        eligible: For each candidate, whether nothing else keeps the device from accepting it. The choice is among these
            candidates.
        alpha: The highest probability that a candidate passes although it breaks a bound.
    """
    p_values = [[1.0 if evidence is None else evidence.p for _, evidence in tested] for tested in candidates]
    # A candidate is as good as the worst of its tests.
    worst = [max(corrected(each), default=0.0) for each in p_values]
    ranked = sorted((index for index, choice in enumerate(eligible) if choice), key=lambda index: worst[index])
    levels = [alpha] * len(candidates)
    level = alpha / max(1, len(ranked))
    for rank, index in enumerate(ranked):
        levels[index] = level
        if worst[index] <= level and rank + 1 < len(ranked):
            level = alpha / (len(ranked) - rank - 1)
    return [
        [
            check if evidence is None else _judge(check, evidence, own, p, level)
            for (check, evidence), p in zip(tested, corrected(own), strict=True)
        ]
        for tested, own, level in zip(candidates, p_values, levels, strict=True)
    ]


def _judge(check: Check, evidence: Evidence, all_of_candidate: Sequence[float], p: float, alpha: float) -> Check:
    harm = None if p <= alpha else evidence.p_of_harm
    verdict: Verdict = "pass" if harm is None else "fail" if harm <= alpha else "not_enough_data"
    enough = None
    if verdict == "not_enough_data":
        # Holm's procedure requires this much of the test if all worse tests stay the same.
        behind = sum(each >= evidence.p for each in all_of_candidate)
        enough = evidence.enough(alpha / max(1, behind))
    test = BoundTest(method=evidence.method, p=evidence.p, corrected=p, p_of_harm=harm, alpha=alpha, enough=enough)
    return check.model_copy(update={"verdict": verdict, "note": check.note + _in_words(test, verdict), "test": test})


def _in_words(test: BoundTest, verdict: Verdict) -> str:
    level = f"alpha {test.alpha:.3g}"
    match verdict:
        case "pass":
            return f": shown by the {test.method}, p {test.corrected:.2g}, {level}"
        case "fail":
            return f": the {test.method} shows that the bound does not hold, p {test.p_of_harm:.2g}, {level}"
        case "not_enough_data" if test.enough is None:
            return (
                f": not shown by the {test.method}, p {test.corrected:.2g}, {level}; no number of examples would be "
                "enough if the true value is the measured one"
            )
        case _:
            return (
                f": not shown by the {test.method}, p {test.corrected:.2g}, {level}; about {test.enough:,} examples "
                "would be enough in 80 % of evaluations if the true value is the measured one"
            )
