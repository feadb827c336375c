"""Verdicts and messages of the gate with `decide_on: test`. Rates of errors are in test_false_blessings.py."""

import re

import pytest
from pydantic import ValidationError

from components.facts.conversion import Converted, Inspection
from components.facts.evaluation import CandidateReport, EvaluationReport, Flips, MetricValue, SliceResult
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from pipelines.report.wording import in_words, meaning_of

PHONE = DeviceProfile(name="phone", device_class="phone", description="any", schemes=("static_wi8_ai8",))


def slice_of(examples, right, lost=0, gained=0, name="overall", weighted=False, **more):
    value, change = right / examples, (gained - lost) / examples
    return SliceResult(
        slice=name,
        examples=examples,
        metrics={"accuracy": MetricValue(value=value)},
        change={"accuracy": MetricValue(value=change)},
        flips={} if weighted else {"accuracy": Flips(lost=lost, gained=gained)},
        **more,
    )


def decision_on(*candidates, size=1000, **gate):
    outcome = Converted(
        inspection=Inspection(
            file_bytes=size,
            weight_bytes=500,
            operators=(),
            dtype_counts={},
            inputs=(),
            outputs=(),
            weights=(),
            float_tensors=(),
            stateful=False,
        ),
        seconds=1.0,
        peak_memory_bytes=1,
    )
    reports = [
        CandidateReport(
            recipe={"name": f"c{index}", "scheme": "static_wi8_ai8"}, outcome=outcome, sha256="digest", slices=slices
        )
        for index, slices in enumerate(candidates)
    ]
    baseline = tuple(one.model_copy(update={"change": {}, "flips": {}}) for one in candidates[0])
    report = EvaluationReport(baseline_slices=baseline, baseline_bytes=4000, candidates=tuple(reports))
    spec = GateSpec.model_validate(
        {"metrics": [{"name": "accuracy", "max_drop_from_baseline": 0.02}], "decide_on": "test", **gate}
    )
    return decide(report, PHONE, spec, less_is_better=False)


@pytest.mark.parametrize(
    ("lost", "gained", "expected", "words"),
    [
        (2, 3, "pass", "shown by the exact paired test, p "),
        (60, 5, "fail", "the exact paired test shows that the bound does not hold, p "),
        (
            30,
            20,
            "not_enough_data",
            "examples would be enough in 80 % of evaluations if the true value is the measured one",
        ),
        (30, 10, "not_enough_data", "no number of examples would be enough if the true value is the measured one"),
    ],
)
def test_verdict_says_what_was_shown_when_answers_are_paired(lost, gained, expected, words):
    decision = decision_on([slice_of(1000, 900, lost, gained)])
    (one,) = decision.candidates
    assert one.verdict == decision.verdict == expected
    measured = in_words(one.checks[-1]).measured
    assert words in measured
    assert f", 1,000 examples, {lost} lost and {gained} gained" in measured


def test_number_that_is_named_is_enough_when_the_rates_stay():
    (one,) = decision_on([slice_of(200, 180, 6, 4)]).candidates
    enough = one.checks[-1].test.enough
    assert one.verdict == "not_enough_data"
    lost, gained = round(6 * enough / 200), round(4 * enough / 200)
    assert decision_on([slice_of(enough, round(0.9 * enough), lost, gained)]).verdict == "pass"


def test_slices_are_corrected_together_when_each_alone_would_pass():
    """No flips in 160 examples have p .04 at a margin of 2 points: enough for one slice, not for two."""
    gate = {"metrics": [{"name": "accuracy", "max_drop_from_baseline": 0.02, "slices": ["label"]}]}
    one = slice_of(160, 150, name="label=0")
    two = slice_of(160, 150, name="label=1")
    assert decision_on([one], **gate).verdict == "pass"
    decision = decision_on([one, two], **gate)
    assert decision.verdict == "not_enough_data"
    for check in decision.candidates[0].checks[1:]:
        assert check.test.corrected == pytest.approx(2 * check.test.p)


def test_candidates_are_corrected_together_when_the_device_could_take_several():
    slices = [slice_of(160, 150)]
    assert decision_on(slices).verdict == "pass"
    decision = decision_on(slices, slices)
    assert decision.verdict == "not_enough_data"
    assert [one.checks[-1].test.alpha for one in decision.candidates] == [0.025, 0.025]
    # A candidate that passes leaves more to the others.
    decision = decision_on([slice_of(1000, 950)], slices)
    assert [one.checks[-1].test.alpha for one in decision.candidates] == [0.025, 0.05]
    assert [one.verdict for one in decision.candidates] == ["pass", "pass"]


def test_bound_on_the_value_is_tested_by_its_share():
    gate = {"metrics": [{"name": "accuracy", "at_least": 0.85}]}
    assert decision_on([slice_of(200, 182)], **gate).verdict == "pass"
    decision = decision_on([slice_of(200, 174)], **gate)
    assert decision.verdict == "not_enough_data"
    assert "not shown by the exact binomial test, p 0.25" in in_words(decision.candidates[0].checks[-1]).measured
    assert decision_on([slice_of(200, 150)], **gate).verdict == "fail"


def test_metric_is_refused_when_nothing_bounds_what_an_example_adds():
    decision = decision_on([slice_of(1000, 900, weighted=True)])
    assert decision.verdict == "not_enough_data"
    expected = "1,000 examples: it can't be tested: it must be a mean or a ratio of sums with a `range`"
    assert expected in in_words(decision.candidates[0].checks[-1]).measured


@pytest.mark.parametrize("alpha", [0, 0.5, -0.1, 1, float("nan")])
def test_alpha_is_refused_when_it_is_outside_its_range(alpha):
    with pytest.raises(ValidationError, match=r"alpha\n"):
        decision_on([slice_of(100, 90)], alpha=alpha)


def test_alpha_is_refused_when_nothing_is_tested():
    message = "alpha (0.1) has no effect with `decide_on: estimate`: write `decide_on: test`, or remove alpha"
    with pytest.raises(ValidationError, match=re.escape(message)):
        decision_on([slice_of(100, 90)], alpha=0.1, decide_on="estimate")


def test_bounds_are_refused_when_two_entries_contradict_each_other():
    message = (
        "two bounds on 'accuracy' contradict each other: at_least (0.9) is above at_most (0.8), so nothing can pass"
    )
    with pytest.raises(ValidationError, match=re.escape(message)):
        decision_on(
            [slice_of(100, 90)],
            metrics=[{"name": "accuracy", "at_most": 0.8}, {"name": "accuracy", "at_least": 0.9}],
        )


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        (["label"], ["label=6"], "label=6"),
        (["age, sex=f"], ["sex, age=30"], "sex, age=30"),
        (["label"], ["label"], "label"),
    ],
)
def test_bounds_are_refused_when_they_contradict_each_other_on_a_slice_that_both_name(first, second, where):
    low, high = {"name": "accuracy", "at_least": 0.9}, {"name": "accuracy", "at_most": 0.8}
    message = f"two bounds on 'accuracy' on {where} contradict each other: at_least (0.9) is above at_most (0.8)"
    with pytest.raises(ValidationError, match=re.escape(message)):
        decision_on([slice_of(100, 90)], metrics=[{**low, "slices": first}, {**high, "slices": second}])
    decision_on([slice_of(100, 90)], metrics=[{**low, "slices": ["label=5"]}, {**high, "slices": ["label=6"]}])


@pytest.mark.parametrize(
    ("right", "lost", "said"),
    [
        # Without any change, 149 examples are enough for a margin of 2 points: 0.98 ** 149 is 0.049.
        (10, 0, r"10 examples: fewer than 30, 0 lost and 0 gained; by itself, the test needs about 1[456]\d in 80 %"),
        # A drop of 10 points is beyond the bound, however many examples there are.
        (9, 1, r"10 examples: fewer than 30, 1 lost and 0 gained; no number of examples would be enough if the true "),
    ],
)
def test_slice_with_few_examples_says_how_many_the_test_needs(right, lost, said):
    decision = decision_on([slice_of(10, right, lost)])
    (check,) = (each for each in decision.candidates[0].checks if each.quantity == "change of accuracy")
    assert check.verdict == "not_enough_data"
    assert re.search(said, check.note), check.note
    # With tiny margins, `min_examples` is what counts.
    (check,) = (
        decision_on([slice_of(10, 10)], metrics=[{"name": "accuracy", "at_least": 0.5}]).candidates[0].checks[-1:]
    )
    assert "needs about 30 in 80 %" in check.note


def test_decision_says_that_bounds_contradict_each_other_given_the_baseline():
    bounds = [{"name": "accuracy", "max_drop_from_baseline": 0.01}, {"name": "accuracy", "at_most": 0.8}]
    decision = decision_on([slice_of(1000, 900)], metrics=bounds)
    assert decision.why.endswith(
        "; the bounds on accuracy on overall contradict each other: the baseline has 0.9, so they require at least "
        "0.89 and at most 0.8"
    )
    assert "contradict" not in decision_on([slice_of(1000, 850)], metrics=bounds[:1]).why


def test_report_says_what_an_estimate_does_not_tell():
    estimated = decision_on([slice_of(1000, 900)], decide_on="estimate")
    assert "does not show whether the bounds hold on other examples" in meaning_of(estimated)
    tested = decision_on([slice_of(1000, 900)], alpha=0.1)
    assert "with a probability of at most 0.1" in meaning_of(tested)
