"""Preference with a tolerance, and Pareto fronts."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from components.facts.conversion import Converted, Inspection
from components.facts.evaluation import CandidateReport, EvaluationReport, Latency, MetricValue, SliceResult
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec
from pipelines.report.wording import place_on_the_front
from tests.samples import sample_of

PHONE = DeviceProfile(name="phone", device_class="phone", description="any", schemes=("static_wi8_ai8",))


def candidate(name, accuracy, size, ratio=None, without=(), parts=(), groups=None, sample=None):
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
    overall = SliceResult(
        slice="overall",
        examples=sum(parts) or 1000,
        metrics={"accuracy": MetricValue(value=accuracy, lower=accuracy - 0.05, upper=accuracy + 0.05)},
        parts=parts,
        groups=groups,
        without={"accuracy": without} if without else {},
        samples={"accuracy": sample} if sample else {},
    )
    latency = None if ratio is None else Latency(microseconds=100.0, ratio=ratio)
    recipe = {"name": name, "scheme": "static_wi8_ai8"}
    return CandidateReport(recipe=recipe, outcome=outcome, sha256="digest", slices=(overall,), latency=latency)


def chosen(*candidates, decide_on="estimate", bound=None, less_is_better=False, **prefer):
    metrics = [{"name": "accuracy", **(bound or {"at_least": 0.0})}]
    policy = GateSpec.model_validate({"metrics": metrics, "prefer": prefer, "decide_on": decide_on})
    report = EvaluationReport(baseline_slices=(), baseline_bytes=4000, candidates=candidates)
    return decide(report, PHONE, policy, less_is_better)


def test_smallest_gives_up_no_more_accuracy_than_its_tolerance():
    """Without one, the smallest costs 1.6 points for 32 bytes."""
    candidates = candidate("tiny", 0.884, 9_968), candidate("small", 0.896, 10_000), candidate("best", 0.900, 40_000)
    assert chosen(*candidates, by="smallest").chosen == "tiny"
    decision = chosen(*candidates, by="smallest", within=0.005)
    assert decision.chosen == "small"
    assert decision.why == (
        "small is the smallest of 2 candidates that pass (10,000 bytes); of 3 that pass, 2 are within 0.005 of the "
        "best accuracy, that of best, as measured (0.896 against 0.9)"
    )
    assert chosen(*candidates, by="smallest", within=0.001).chosen == "best"
    # A difference that is exactly the tolerance is within it.
    assert chosen(*candidates, by="smallest", within=0.004).chosen == "small"


def test_tolerance_follows_the_direction_of_the_metric():
    candidates = candidate("tiny", 0.36, 100), candidate("small", 0.31, 200), candidate("best", 0.30, 300)
    bound = {"at_most": 1.0}
    assert chosen(*candidates, bound=bound, less_is_better=True, by="smallest", within=0.02).chosen == "small"


def test_fastest_has_a_tolerance_too():
    candidates = candidate("slow", 0.90, 100, 0.9), candidate("fast", 0.899, 200, 0.5), candidate("bad", 0.8, 50, 0.1)
    assert chosen(*candidates, by="fastest", within=0.01).chosen == "fast"


def drawn(random, examples, loss, gain, groups=None):
    """Two candidates on the same examples; the small one is right on fewer of them. Groups are right as a whole."""
    own = np.arange(examples) if groups is None else np.repeat(np.arange(len(groups)), groups)
    count = own[-1] + 1
    numbers = random.integers(20, size=count)[own]
    top = (random.random(count) < 0.8)[own]
    flip = random.random(count)[own]
    small = np.where(top, flip >= loss / 0.8, flip < gain / 0.2)
    examples, sizes = len(own), np.bincount(numbers, minlength=20)
    made = []
    used = sizes > 0
    for name, right, size in (("best", top, 2000), ("small", small, 1000)):
        without = ((right.sum() - np.bincount(numbers, right, 20)) / (examples - sizes))[used]
        parts = tuple(int(each) for each in sizes[used])
        among = None if groups is None else len(groups)
        terms = [np.bincount(own, each) for each in (right, np.ones(examples))]
        made.append(candidate(name, right.mean(), size, None, tuple(without.tolist()), parts, among, sample_of(*terms)))
    return made


@pytest.mark.parametrize("decide_on", ["estimate", "interval", "test"])
def test_smaller_one_is_taken_by_luck_at_most_at_rate_alpha_if_it_is_tested(decide_on, record_property):
    """The small one is 2 points worse, the tolerance. If it was measured as better, it is itself the most accurate."""
    random, rates = np.random.default_rng(21), {}
    for name, loss, gain in (("beyond the tolerance", 0.03, 0.01), ("as good", 0.01, 0.01)):
        found = [
            chosen(
                *drawn(random, 1000, loss, gain),
                decide_on=decide_on,
                bound={"at_least": 0.5},
                by="smallest",
                within=0.02,
            ).chosen
            for _ in range(2000)
        ]
        rates[name] = found.count("small") / 2000
        record_property(name, rates[name])
    print(f"{decide_on}: {rates}")
    if decide_on == "estimate":
        assert rates["beyond the tolerance"] > 0.4
    else:
        assert rates["beyond the tolerance"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert rates["as good"] > 0.6


@pytest.mark.parametrize(("groups", "taken"), [(None, "small"), (10, "best")])
def test_interval_of_groups_is_wider_when_the_largest_differs(groups, taken):
    """The small one loses 2 of 100 examples, both in one of 10 parts, the largest with 55 of them."""
    parts = (55, *[5] * 9)
    best = candidate("best", 0.9, 2000, None, (0.9,) * 10, parts, groups)
    small = candidate("small", 0.88, 1000, None, (0.9, *[0.9 - 2 / 95] * 9), parts, groups)
    assert (
        chosen(best, small, decide_on="interval", bound={"at_least": 0.5}, by="smallest", within=0.04).chosen == taken
    )


# Name -> examples, tolerance, and rates of losses and gains at the tolerance. Groups have unequal sizes.
TESTED = {
    "few flips": (1000, 0.02, 0.02, 0.0),
    "a quarter flips": (1000, 0.05, 0.15, 0.10),
    "few examples": (100, 0.1, 0.12, 0.02),
    "groups": (None, 0.06, 0.07, 0.01),
}


@pytest.mark.parametrize("case", TESTED)
def test_smaller_one_at_the_tolerance_is_taken_at_most_at_rate_alpha(case, record_property):
    examples, within, loss, gain = TESTED[case]
    random, found = np.random.default_rng(22), []
    for _ in range(2000):
        groups = None if examples else np.maximum(1, random.lognormal(2, 1, 300).astype(int))
        pair = drawn(random, examples, loss, gain, groups)
        found.append(chosen(*pair, decide_on="test", bound={"at_least": 0.0}, by="smallest", within=within).chosen)
    rate = found.count("small") / 2000
    record_property("beyond the tolerance", rate)
    print(f"{case}: {rate}")
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_smaller_one_is_not_taken_when_nothing_was_resampled():
    candidates = candidate("small", 0.899, 100), candidate("best", 0.9, 200)
    assert chosen(*candidates, decide_on="interval", by="smallest", within=0.005).chosen == "best"
    assert chosen(*candidates, decide_on="estimate", by="smallest", within=0.005).chosen == "small"


def test_front_has_every_candidate_that_no_other_beats():
    candidates = (
        candidate("small", 0.80, 100, 0.9),
        candidate("dominated", 0.79, 150, 0.8),
        candidate("medium", 0.85, 200, 0.4),
        candidate("equal", 0.85, 200, 0.4),
        candidate("large", 0.90, 300, None),
        candidate("failed", 0.10, 10, 0.1),
    )
    decision = chosen(*candidates, bound={"at_least": 0.5}, by="smallest", within=0.06)
    assert decision.fronts == {"bytes": ("small", "medium", "large"), "host time": ("medium",)}
    assert decision.chosen == "medium"
    assert place_on_the_front(decision) == (
        "Pareto front of accuracy against bytes: small, medium, large. medium is on it: no other passing candidate "
        "has a better accuracy at no more bytes. Pareto front of accuracy against host time: medium. medium is on it: "
        "no other passing candidate has a better accuracy at no more host time."
    )
    assert place_on_the_front(chosen(candidates[-1], bound={"at_least": 0.5}, by="smallest")) == ""


@pytest.mark.parametrize(
    ("prefer", "message"),
    [
        ({"by": "most_accurate", "within": 0.01}, "within (0.01) has no effect with `by: most_accurate`"),
        ({"by": "smallest", "within": 0}, "Input should be greater than 0"),
        ({"by": "smallest", "within": -1}, "Input should be greater than 0"),
        ({"within": 0.1}, "Field required"),
        ("tiny", "Input should be 'smallest', 'smallest_compressed', 'fastest' or 'most_accurate'"),
    ],
)
def test_preference_is_refused_when_it_makes_no_sense(prefer, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        GateSpec.model_validate({"metrics": [{"name": "accuracy", "at_least": 0.5}], "prefer": prefer})


def test_name_alone_is_a_preference_without_a_tolerance():
    bound = {"name": "accuracy", "at_least": 0.5}
    spec = GateSpec.model_validate({"metrics": [bound], "prefer": "fastest"})
    assert (spec.prefer.by, spec.prefer.within) == ("fastest", None)
    assert GateSpec.model_validate_json(spec.model_dump_json()) == spec
