"""What report, table, run status, and card say about a champion."""

from datetime import datetime, timezone

import pytest

from components.card.text import model_card
from components.facts.champion import Challenge, Challenger, Champion, Sighting
from components.facts.evaluation import MetricValue, SliceResult
from components.gate.policy import decide
from components.spec.gate import GateSpec
from kubeflow.pages.ui import verdict_markdown
from pipelines.report.render import render_report
from pipelines.report.status import RunStatus, with_summary
from pipelines.report.summary import RunSummary
from tests.pipelines.report.conftest import make_summary, plain_cells
from tests.pipelines.report.test_terminal import printed

FOUND = Champion(
    device="phone_cpu",
    state="found",
    sha256="c" * 64,
    version="c" * 16,
    path="/registry/phone_cpu/fashion-mnist/cccccccccccccccc",
    recipe={"name": "old", "scheme": {"kind": "float16"}},
    notes=("its scheme float16 is no longer in the device profile",),
)


def result(value: float, change: float | None = None) -> SliceResult:
    changes = {} if change is None else {"accuracy": MetricValue(value=change)}
    return SliceResult(slice="overall", examples=1000, metrics={"accuracy": MetricValue(value=value)}, change=changes)


def with_champion(champion: Champion = FOUND, mode: str = "report", **more: object) -> RunSummary:
    """The realistic run. `int8_per_tensor`, the smallest, loses 0.013; `float32` gains 0.004; `float16` is the same."""
    summary = make_summary()
    assert summary.evaluation is not None
    changes = {"int8_per_tensor": -0.013, "float32": 0.004}
    challenge = Challenge(
        champion=champion,
        slices=(result(0.902),),
        challengers=tuple(
            Challenger(
                name=one.name,
                sha256=one.sha256,
                same=one.name == "float16",
                slices=(result(0.902 + changes[one.name], changes[one.name]),) if one.name in changes else (),
            )
            for one in summary.candidates
        ),
        **more,  # type: ignore[arg-type]
    )
    policy = GateSpec.model_validate({"metrics": [{"name": "accuracy", "at_least": 0.85}], "champion": mode})
    decision = decide(summary.evaluation, summary.devices[0], policy, False, challenge=challenge)
    return summary.model_copy(update={"decisions": (decision, *summary.decisions[1:])})


def text_of(summary: RunSummary) -> str:
    return "\n".join(printed(summary, 400))


def test_table_says_which_candidates_are_worse() -> None:
    text = text_of(with_champion())
    assert (
        "phone_cpu: the champion is cccccccccccccccc (old, float16); float16 is this file; worse: int8_per_tensor; "
        "no difference shown: dynamic, int8; not worse: float32; "
        "its scheme float16 is no longer in the device profile"
    ) in text
    assert "champion" not in text_of(make_summary())


@pytest.mark.parametrize(
    ("champion", "more", "words"),
    [
        (Champion(device="phone_cpu", state="none"), {}, "no champion: the device has no release yet"),
        (
            Champion(
                device="phone_cpu",
                state="unknown",
                sightings=(Sighting(registry="s3://b/r", state="unknown", why="no answer"),),
            ),
            {},
            "the champion is unknown: no answer",
        ),
        (
            FOUND,
            {"incomparable": "its outputs are b"},
            "the champion is cccccccccccccccc (old, float16), which cannot be compared: its outputs are b",
        ),
    ],
)
def test_missing_comparison_is_said_everywhere(champion: Champion, more: dict[str, str], words: str) -> None:
    summary = with_champion(champion, **more)
    assert f"phone_cpu: {words}" in text_of(summary)
    assert f"{words[0].upper()}{words[1:]}.\n" in verdict_markdown(summary)
    html = render_report(summary)
    assert f"{words[0].upper()}{words[1:]}." in html
    assert 'href="#champion"' in html
    assert summary.card_of(summary.devices[0]).champion is None  # type: ignore[union-attr]


def test_report_has_a_row_for_each_comparison_and_none_without_a_champion() -> None:
    html = plain_cells(render_report(with_champion()))
    section = html[html.index('<section id="champion">') :]
    section = section[: section.index("</section>")]
    assert "<code>/registry/phone_cpu/fashion-mnist/cccccccccccccccc</code>" in section
    assert "change of accuracy from the champion" in section
    assert "-0.013, 1,000 examples (0.889 against 0.902)" in section
    assert '<th scope="row">float16</th><td colspan="5">is the champion</td>' in section
    assert "This does not decide" in section
    assert "A candidate that is worse is refused." in render_report(with_champion(mode="require"))
    assert 'id="champion"' not in render_report(make_summary())


def test_run_status_has_the_verdicts_and_what_they_rest_on() -> None:
    begun = RunStatus(
        state="running", pipeline_file="p.yaml", pid=1, host="h", versions={}, started=datetime.now(timezone.utc)
    )
    phone, other = with_summary(begun, with_champion(mode="require")).devices
    assert other.champion is None and phone.champion is not None
    assert (phone.champion.state, phone.champion.decides, phone.champion.version) == ("found", True, "c" * 16)
    assert {name: verdict for name, verdict in phone.champion.verdicts.items() if verdict} == {
        "float32": "pass",
        "float16": "same",
        "dynamic": "not_enough_data",
        "int8": "not_enough_data",
        "int8_per_tensor": "fail",
    }
    assert [one.measured for one in phone.champion.reasons["int8_per_tensor"]] == [
        "-0.013, 1,000 examples (0.889 against 0.902)"
    ]
    assert phone.chosen == "float16"


def test_card_compares_with_the_release_before() -> None:
    summary = with_champion()
    facts = summary.card_of(summary.devices[0])
    assert facts is not None and facts.champion is not None
    assert [one.candidate for one in facts.champion.candidates] == [facts.recipe.name]
    text = model_card(facts)
    assert f"Compared with the previous release, {'c' * 16}, on the same examples:" in text
    assert "| change of accuracy from the champion | overall | -0.013 | worse |" in text
    assert "Compared with the previous release" not in model_card(make_summary().card_of(summary.devices[0]))
