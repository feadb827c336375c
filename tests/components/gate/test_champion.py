"""What the gate makes of a device's champion. Every case has unequal numbers, so that a swapped sign fails it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from components.facts.champion import Challenge, Challenger, Champion, DeviceChallenge, Sighting
from components.facts.conversion import Converted, Inspection
from components.facts.decision import Decision
from components.facts.evaluation import CandidateReport, EvaluationReport, Flips, MetricValue, SliceResult
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from pipelines.report.wording import in_words

PHONE = DeviceProfile(name="phone", device_class="phone", description="any", schemes=("static_wi8_ai8",))
FOUND = Champion(
    device="phone",
    state="found",
    sha256="c" * 64,
    version="c" * 16,
    path="/registry/phone/shoes/cccccccccccccccc",
    recipe={"name": "old", "scheme": {"kind": "static_wi8_ai8"}},
)


def slice_of(value, change=None, name="overall", examples=1000, flips=None, metric="accuracy", interval=None):
    low, high = interval or (None, None)
    return SliceResult(
        slice=name,
        examples=examples,
        metrics={metric: MetricValue(value=value)},
        change={} if change is None else {metric: MetricValue(value=change, lower=low, upper=high)},
        flips={} if flips is None else {metric: Flips(lost=flips[0], gained=flips[1])},
    )


def candidate(name, size, *slices):
    nothing = {"weight_bytes": 0, "operators": (), "dtype_counts": {}, "inputs": (), "outputs": (), "weights": ()}
    inspection = Inspection(file_bytes=size, float_tensors=(), stateful=False, **nothing)
    return CandidateReport(
        recipe={"name": name, "scheme": "static_wi8_ai8"},
        outcome=Converted(inspection=inspection, seconds=1.0, peak_memory_bytes=1),
        sha256=f"{name:x<64}",
        slices=slices,
    )


CHAMPIONS = (slice_of(0.90),)


def challenge(challengers, of_champion=CHAMPIONS, champion=FOUND, **more):
    """Name of a candidate -> its slices against the champion, or None for the champion's own file."""
    return Challenge(
        champion=champion,
        slices=of_champion,
        challengers=tuple(
            Challenger(name=name, sha256=f"{name:x<64}", same=slices is None, slices=slices or ())
            for name, slices in challengers.items()
        ),
        **more,
    )


def decided(against: Challenge | None, bounds=None, directions=None, **gate) -> Decision:
    """The decision on `small`, which is preferred, and `large`. Both meet every bound but the champion's."""
    report = EvaluationReport(
        baseline_slices=(slice_of(0.91), slice_of(0.91, name="label=3"), slice_of(0.5, metric="loss")),
        baseline_bytes=4000,
        candidates=(
            candidate("small", 100, slice_of(0.905, -0.005), slice_of(0.905, -0.005, name="label=3")),
            candidate("large", 200, slice_of(0.906, -0.004), slice_of(0.906, -0.004, name="label=3")),
        ),
    )
    metrics = bounds or [{"name": "accuracy", "at_least": 0.8}]
    policy = GateSpec.model_validate({"metrics": metrics, **gate})
    return decide(report, PHONE, policy, False, challenge=against, directions=directions or {})


def verdicts(decision: Decision) -> dict[str, str | None]:
    assert decision.champion is not None
    return {one.candidate: one.verdict for one in decision.champion.candidates}


ONE_WORSE = {"small": (slice_of(0.88, -0.02),), "large": (slice_of(0.93, 0.03),)}


def test_candidate_that_is_worse_is_only_reported_unless_the_policy_requires_more() -> None:
    reported = decided(challenge(ONE_WORSE), champion="report")
    assert verdicts(reported) == {"small": "fail", "large": "pass"}
    assert (reported.chosen, [len(one.checks) for one in reported.candidates]) == ("small", [2, 2])
    required = decided(challenge(ONE_WORSE), champion="require")
    assert verdicts(required) == {"small": "fail", "large": "pass"}
    assert (required.chosen, required.candidates[0].verdict) == ("large", "fail")
    (check,) = required.candidates[0].reasons
    assert (check.quantity, check.op, check.measured) == ("change of accuracy from the champion", "drop_at_most", -0.02)
    assert in_words(check).measured == "-0.02, 1,000 examples (0.88 against 0.9)"


def test_nothing_is_compared_and_nothing_is_said_when_the_policy_asks_for_none() -> None:
    decision = decided(challenge(ONE_WORSE), champion="none")
    assert decision == decided(None, champion="none")
    assert (decision.chosen, decision.champion) == ("small", None)


@pytest.mark.parametrize(("change", "expected"), [(-0.001, "fail"), (0.0, "pass"), (0.001, "pass")])
def test_candidate_is_worse_if_it_loses_anything_without_a_margin(change: float, expected: str) -> None:
    against = challenge({"small": (slice_of(0.9 + change, change),), "large": (slice_of(0.9, 0.0),)})
    decision = decided(against, champion="require")
    assert verdicts(decision)["small"] == expected
    assert decision.chosen == ("small" if expected == "pass" else "large")


@pytest.mark.parametrize(("margin", "chosen"), [(0.019, "large"), (0.02, "small"), (0.05, "small")])
def test_declared_margin_is_how_much_a_candidate_can_lose(margin: float, chosen: str) -> None:
    bounds = [{"name": "accuracy", "at_least": 0.8, "max_drop_from_champion": margin}]
    assert decided(challenge(ONE_WORSE), bounds, champion="require").chosen == chosen


def test_only_bounds_with_a_margin_are_compared_when_one_has_it() -> None:
    bounds = [{"name": "accuracy", "at_least": 0.8}, {"name": "loss", "at_most": 9, "max_rise_from_champion": 0.1}]
    losses = (slice_of(0.88, -0.02), slice_of(0.7, 0.2, metric="loss", name="other"))
    decision = decided(challenge({"small": losses, "large": losses}), bounds, champion="report")
    assert decision.champion is not None
    assert [check.quantity for check in decision.champion.candidates[0].checks] == ["change of loss from the champion"]


@pytest.mark.parametrize("examples", [1000, 400])
def test_candidate_that_is_worse_under_the_device_runtime_alone_is_refused(examples: int) -> None:
    there = DeviceChallenge(
        slices=(slice_of(0.9, examples=examples),),
        challengers={
            "small": (slice_of(0.87, -0.03, examples=examples),),
            "large": (slice_of(0.9, 0.0, examples=examples),),
        },
    )
    better = {"small": (slice_of(0.91, 0.01),), "large": (slice_of(0.92, 0.02),)}
    assert verdicts(decided(challenge(better), champion="report")) == {"small": "pass", "large": "pass"}
    decision = decided(challenge(better, on_device=there), champion="require")
    assert verdicts(decision) == {"small": "fail", "large": "pass"}
    assert decision.chosen == "large"
    (reason,) = decision.candidates[0].reasons
    assert (reason.quantity, reason.measured) == (
        "change of accuracy from the champion on TensorFlow Lite Micro",
        -0.03,
    )
    assert decision.champion is not None
    # What covers all examples takes the place of the desktop's.
    assert len(decision.champion.candidates[1].checks) == (1 if examples == 1000 else 2)


def test_champion_that_the_device_runtime_refuses_is_compared_under_the_desktop_s_with_a_note() -> None:
    decision = decided(challenge(ONE_WORSE, on_device=DeviceChallenge(why="no kernel for X")), champion="report")
    assert verdicts(decision) == {"small": "fail", "large": "pass"}
    assert decision.champion is not None
    assert decision.champion.notes == ("not compared on TensorFlow Lite Micro: no kernel for X",)


@pytest.mark.parametrize("worse_on", ["overall", "label=3"])
def test_slices_are_compared_one_by_one(worse_on: str) -> None:
    bounds = [{"name": "accuracy", "at_least": 0.5}, {"name": "accuracy", "at_least": 0.5, "slices": ["label"]}]
    changes = {"overall": 0.01, "label=3": 0.02, worse_on: -0.03}
    slices = tuple(slice_of(0.9 + change, change, name=name) for name, change in changes.items())
    of_champion = tuple(slice_of(0.9, name=name) for name in changes)
    decision = decided(challenge({"small": slices, "large": None}, of_champion), bounds, champion="require")
    assert decision.champion is not None
    found = {check.scope: check.verdict for check in decision.champion.candidates[0].checks}
    assert found == {**dict.fromkeys(changes, "pass"), worse_on: "fail"}
    assert verdicts(decision) == {"small": "fail", "large": "same"}
    assert decision.chosen == "large"


@pytest.mark.parametrize(
    ("bound", "directions", "change", "expected"),
    [
        ({"at_most": 9}, {}, 0.1, "fail"),
        ({"at_most": 9}, {}, -0.1, "pass"),
        ({"max_rise_from_baseline": 5}, {}, 0.1, "fail"),
        ({"at_least": 0.1}, {}, -0.1, "fail"),
        ({"at_least": 0.1, "at_most": 9}, {}, -0.1, None),
        ({"at_least": 0.1, "at_most": 9}, {"loss": True}, 0.1, "fail"),
        ({"at_least": 0.1, "at_most": 9}, {"loss": False}, 0.1, "pass"),
    ],
)
def test_direction_of_a_metric_is_known_or_follows_from_its_bounds(
    bound: dict[str, float], directions: dict[str, bool], change: float, expected: str | None
) -> None:
    bounds = [{"name": "loss", **bound}]
    slices = (slice_of(0.5 + change, change, metric="loss"),)
    against = challenge({"small": slices, "large": slices}, (slice_of(0.5, metric="loss"),))
    assert verdicts(decided(against, bounds, directions, champion="report"))["small"] == expected


def test_candidate_with_the_champions_bytes_is_neither_better_nor_worse() -> None:
    decision = decided(challenge({"small": None, "large": (slice_of(0.93, 0.03),)}), champion="require")
    assert verdicts(decision) == {"small": "same", "large": "pass"}
    assert decision.chosen == "small"
    assert "it is the champion, cccccccccccccccc" in [
        getattr(one, "measured", "") for one in decision.candidates[0].checks
    ]


def test_comparison_of_another_file_counts_for_nothing() -> None:
    against = challenge({"small": (slice_of(0.93, 0.03),), "large": None})
    others = tuple(one.model_copy(update={"sha256": "f" * 64}) for one in against.challengers)
    decision = decided(against.model_copy(update={"challengers": others}), champion="require")
    assert (decision.chosen, decision.verdict) == (None, "not_enough_data")
    assert "this file was not compared with the champion" in decision.candidates[0].reasons[0].measured


AWAY = Champion(
    device="phone",
    state="unknown",
    sightings=(Sighting(registry="s3://b/r (stable)", state="unknown", why="no answer"),),
)


@pytest.mark.parametrize(
    ("against", "verdict", "words"),
    [
        (challenge({"small": (), "large": ()}, (), Champion(device="phone", state="none")), "pass", ""),
        (challenge({"small": (), "large": ()}, (), AWAY), "not_enough_data", "the champion is unknown: no answer"),
        (challenge({"small": (), "large": ()}, (), incomparable="its outputs are b"), "fail", "its outputs are b"),
        (None, "not_enough_data", "the champion is unknown"),
    ],
    ids=["first release", "registry unreachable", "incomparable", "not looked for"],
)
def test_required_champion_that_cannot_be_compared_gives_a_clear_verdict(
    against: Challenge | None, verdict: str, words: str
) -> None:
    required = decided(against, champion="require")
    assert required.verdict == verdict
    assert all(words in one.reasons[0].measured for one in required.candidates if one.reasons)
    assert ("champion" in required.why) == (verdict != "pass")
    reported = decided(against, champion="report")
    assert (reported.verdict, reported.chosen) == ("pass", "small")
    assert reported.champion is not None and set(verdicts(reported).values()) == {None}
    assert words.removeprefix("the champion is unknown: ") in (reported.champion.why or "the champion is unknown")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((-0.03, -0.011), "fail"), ((-0.03, 0.01), "not_enough_data"), ((-0.009, 0.03), "pass")],
)
def test_interval_of_the_change_from_the_champion_decides(interval: tuple[float, float], expected: str) -> None:
    bounds = [{"name": "accuracy", "max_drop_from_champion": 0.01}, {"name": "accuracy", "max_drop_from_baseline": 0.9}]
    slices = (slice_of(0.9, sum(interval) / 2, interval=interval),)
    against = challenge({"small": slices, "large": None})
    decision = decided(against, bounds, champion="report", decide_on="interval")
    assert verdicts(decision)["small"] == expected


@pytest.mark.parametrize(
    ("flips", "expected"), [((2, 3), "pass"), ((60, 5), "fail"), ((30, 20), "not_enough_data"), ((5, 60), "pass")]
)
def test_paired_test_against_the_champion_is_that_of_bounds_on_the_baseline(
    flips: tuple[int, int], expected: str
) -> None:
    bounds = [{"name": "accuracy", "at_least": 0.5, "max_drop_from_champion": 0.02}]
    change = (flips[1] - flips[0]) / 1000
    slices = (slice_of(0.9, change, flips=flips),)
    own = slice_of(0.905, -0.005, flips=(10, 5))
    report = EvaluationReport(
        baseline_slices=(slice_of(0.91),), baseline_bytes=4000, candidates=(candidate("small", 100, own),)
    )
    for mode in ("report", "require"):
        policy = GateSpec.model_validate({"metrics": bounds, "champion": mode, "decide_on": "test"})
        decision = decide(report, PHONE, policy, False, challenge=challenge({"small": slices}))
        assert verdicts(decision) == {"small": expected}
        # A report changes nothing about the other bounds, not even their correction for several tests.
        alone = decide(
            report,
            PHONE,
            GateSpec.model_validate({"metrics": [{"name": "accuracy", "at_least": 0.5}], "decide_on": "test"}),
            False,
        )
        if mode == "report":
            assert decision.candidates == alone.candidates
        assert decision.verdict == ("pass" if mode == "report" else expected)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            {"metrics": [{"name": "accuracy", "at_least": 0.5, "max_drop_from_champion": 0.1}], "champion": "none"},
            "no effect with `champion: none`",
        ),
        (
            {"metrics": [{"name": "accuracy", "max_drop_from_champion": 0.1}], "champion": "require"},
            "nothing bounds a device's first release",
        ),
        (
            {"metrics": [{"name": "accuracy", "at_least": 0.5}], "champion": "require", "decide_on": "test"},
            "requires each candidate to be better than the champion",
        ),
        ({"metrics": [{"name": "accuracy", "at_least": 0.5}], "champion": "refuse"}, "'none', 'report' or 'require'"),
    ],
)
def test_policy_that_contradicts_itself_is_refused(gate: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GateSpec.model_validate(gate)
