"""Text about the champions of devices for the report, the terminal, and the run status."""

from __future__ import annotations

from components.core.values import FrozenModel
from components.facts.decision import ChampionVerdict, Decision
from pipelines.report.summary import RunSummary
from pipelines.report.wording import CheckWords, in_words

# Verdict of a comparison with a champion -> its meaning.
WORDS = {"same": "is the champion", "pass": "not worse", "fail": "worse", "not_enough_data": "no difference shown"}


class ChampionCandidate(FrozenModel):
    """One candidate compared with the champion: its name, its verdict as in `WORDS`, and the compared figures."""

    name: str
    verdict: str
    checks: tuple[CheckWords, ...]


class ChampionView(FrozenModel):
    """One device's part of the section.

    Attributes:
        device: Name of the device profile.
        found: The comparison with the champion.
        sentence: The result in one sentence.
        candidates: The candidates that were compared, or are the champion.
    """

    device: str
    found: ChampionVerdict
    sentence: str
    candidates: tuple[ChampionCandidate, ...]


def champion_views(summary: RunSummary) -> list[ChampionView]:
    """The parts of all devices whose policy compares with a champion."""
    return [
        ChampionView(
            device=decision.device,
            found=decision.champion,
            sentence=champion_sentence(decision),
            candidates=tuple(
                ChampionCandidate(
                    name=one.candidate, verdict=WORDS[one.verdict], checks=tuple(map(in_words, one.checks))
                )
                for one in decision.champion.candidates
                if one.verdict is not None
            ),
        )
        for decision in summary.decisions
        if decision.champion is not None
    ]


def champion_sentence(decision: Decision) -> str:
    """Describe the champion, and which candidates are worse; empty if the policy doesn't compare with one."""
    found = decision.champion
    if found is None:
        return ""
    if found.state == "none":
        return "no champion: the device has no release yet"
    if found.state == "unknown":
        return f"the champion is unknown: {found.why or 'no node looked for it'}"
    what = f"the champion is {found.version}" + (f" ({found.recipe}, {found.scheme})" if found.recipe else "")
    if found.why:
        return f"{what}, which cannot be compared: {found.why}"
    parts = []
    for verdict, words in (
        ("same", "{} is this file"),
        ("fail", "worse: {}"),
        ("not_enough_data", "no difference shown: {}"),
        ("pass", "not worse: {}"),
    ):
        names = ", ".join(one.candidate for one in found.candidates if one.verdict == verdict)
        parts += [words.format(names)] if names else []
    return "; ".join([what, *parts, *found.notes])


def is_warning(decision: Decision) -> bool:
    """Whether something about the champion needs attention: the chosen candidate is worse, or nothing was compared."""
    found = decision.champion
    if found is None or found.state == "none":
        return False
    chosen = None if decision.chosen is None else found.of(decision.chosen)
    return bool(found.why) or found.state == "unknown" or (chosen is not None and chosen.verdict == "fail")
