import math

import pytest

from components.core.compression import CompressedBytes
from components.facts.conversion import ConversionFailure, Converted, Inspection, OperatorUse, TensorFact
from components.facts.decision import CandidateDecision
from components.facts.evaluation import CandidateReport, EvaluationReport, Latency, MetricValue, SliceResult
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec, MetricBound
from pipelines.report.wording import in_words

NAN = math.nan


def device(**changes):
    base = {"name": "phone", "device_class": "phone", "description": "any", "schemes": ("float32", "static_wi8_ai8")}
    return DeviceProfile.model_validate(base | changes)


def policy(*bounds, **changes):
    return GateSpec(metrics=tuple(MetricBound(**bound) for bound in bounds), **changes)


def metric(value, interval=None):
    lower, upper = interval or (None, None)
    return MetricValue(value=value, lower=lower, upper=upper)


def slice_of(value, change=None, name="overall", examples=1000, metric_name="accuracy"):
    return SliceResult(
        slice=name,
        examples=examples,
        metrics={metric_name: value if isinstance(value, MetricValue) else metric(value)},
        change={} if change is None else {metric_name: change if isinstance(change, MetricValue) else metric(change)},
    )


def candidate(
    name="int8",
    *slices,
    scheme="static_wi8_ai8",
    size=1000,
    floats=(),
    operators=("CONV_2D",),
    ratio=0.5,
    gzip=None,
    zstd=1,
    weights=(),
):
    return CandidateReport(
        recipe={"name": name, "scheme": scheme},
        outcome=Converted(
            inspection=Inspection(
                file_bytes=size,
                weight_bytes=size // 2,
                operators=tuple(OperatorUse(name=operator, version=1, count=1) for operator in operators),
                dtype_counts={"INT8": 3},
                inputs=(),
                outputs=(),
                weights=weights,
                float_tensors=floats,
                stateful=False,
            ),
            seconds=1.0,
            peak_memory_bytes=1,
        ),
        sha256=f"digest of {name}",
        slices=slices or (slice_of(0.84, -0.01),),
        latency=None if ratio is None else Latency(microseconds=100.0, ratio=ratio),
        compressed=None if gzip is None else CompressedBytes(gzip=gzip, zstd=zstd),
    )


BASELINE = (slice_of(0.85),)


def report(*candidates, baseline=BASELINE):
    return EvaluationReport(baseline_slices=baseline, baseline_bytes=4000, candidates=candidates)


def verdict_of(*slices, bound, baseline=BASELINE, **changes):
    decision = decide(report(candidate("int8", *slices), baseline=baseline), device(), policy(bound, **changes))
    return decision.candidates[0].verdict


# Candidate and baseline differ in both directions: a gate that reads one for the other fails one of each pair.
@pytest.mark.parametrize(
    ("measured", "baseline", "expected"), [(0.90, 0.70, "pass"), (0.70, 0.90, "fail")], ids=["better", "worse"]
)
def test_absolute_bound_reads_the_candidate_when_baseline_differs(measured, baseline, expected):
    found = verdict_of(
        slice_of(measured, measured - baseline),
        bound={"name": "accuracy", "at_least": 0.8},
        baseline=(slice_of(baseline),),
    )
    assert found == expected


@pytest.mark.parametrize(
    ("measured", "baseline", "expected"), [(0.95, 0.85, "pass"), (0.85, 0.95, "fail")], ids=["rose", "dropped"]
)
def test_drop_is_candidate_below_baseline_when_they_differ(measured, baseline, expected):
    found = verdict_of(
        slice_of(measured, measured - baseline),
        bound={"name": "accuracy", "max_drop_from_baseline": 0.01},
        baseline=(slice_of(baseline),),
    )
    assert found == expected


@pytest.mark.parametrize(
    ("measured", "baseline", "expected"), [(0.95, 0.85, "fail"), (0.85, 0.95, "pass")], ids=["rose", "dropped"]
)
def test_rise_is_candidate_above_baseline_when_they_differ(measured, baseline, expected):
    found = verdict_of(
        slice_of(measured, measured - baseline),
        bound={"name": "accuracy", "max_rise_from_baseline": 0.01},
        baseline=(slice_of(baseline),),
    )
    assert found == expected


@pytest.mark.parametrize(
    ("bound", "value", "change", "expected"),
    [
        ({"at_least": 0.85}, 0.85, 0.0, "pass"),
        ({"at_least": 0.85}, 0.8499, 0.0, "fail"),
        ({"at_most": 0.85}, 0.85, 0.0, "pass"),
        ({"at_most": 0.85}, 0.8501, 0.0, "fail"),
        ({"max_drop_from_baseline": 0.01}, 0.84, 0.84 - 0.85, "pass"),
        ({"max_drop_from_baseline": 0.01}, 0.8399, 0.8399 - 0.85, "fail"),
        ({"max_rise_from_baseline": 0.01}, 0.86, 0.86 - 0.85, "pass"),
        ({"max_rise_from_baseline": 0.01}, 0.8601, 0.8601 - 0.85, "fail"),
        ({"max_drop_from_baseline": 0.0}, 0.85, 0.0, "pass"),
        ({"max_drop_from_baseline": 0.0}, 0.8499, -0.0001, "fail"),
        # A float32 just below the bound is the bound; a tiny value above a bound of zero is not zero.
        ({"at_least": 0.9}, 0.8999999761581421, 0.0, "pass"),
        ({"at_most": 0.0}, 1e-9, 0.0, "fail"),
    ],
)
def test_exact_equality_passes_when_bound_is_met_to_float32_rounding(bound, value, change, expected):
    assert verdict_of(slice_of(value, change), bound={"name": "accuracy", **bound}) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.86, 0.90), "pass"),
        ((0.85, 0.90), "pass"),
        ((0.84, 0.90), "not_enough_data"),
        ((0.80, 0.84), "fail"),
        (None, "not_enough_data"),
        ((NAN, NAN), "not_enough_data"),
    ],
)
def test_interval_decides_when_asked_for(interval, expected):
    value = metric(0.87, interval)
    assert verdict_of(slice_of(value), bound={"name": "accuracy", "at_least": 0.85}, decide_on="interval") == expected
    assert verdict_of(slice_of(value), bound={"name": "accuracy", "at_least": 0.85}) == "pass"


@pytest.mark.parametrize(
    ("interval", "expected"), [((-0.009, 0.0), "pass"), ((-0.02, 0.0), "not_enough_data"), ((-0.05, -0.02), "fail")]
)
def test_interval_of_change_decides_when_drop_is_bounded(interval, expected):
    found = verdict_of(
        slice_of(0.8, metric(-0.005, interval)),
        bound={"name": "accuracy", "max_drop_from_baseline": 0.01},
        decide_on="interval",
    )
    assert found == expected


@pytest.mark.parametrize(
    ("interval", "expected"), [((0.0, 0.009), "pass"), ((0.0, 0.02), "not_enough_data"), ((0.02, 0.05), "fail")]
)
def test_interval_of_change_decides_when_rise_is_bounded(interval, expected):
    found = verdict_of(
        slice_of(0.8, metric(0.005, interval)),
        bound={"name": "accuracy", "max_rise_from_baseline": 0.01},
        decide_on="interval",
    )
    assert found == expected


@pytest.mark.parametrize(
    ("slices", "bound", "words"),
    [
        ((slice_of(NAN),), {"at_least": 0.5}, "could not be computed"),
        ((slice_of(0.9, NAN),), {"max_drop_from_baseline": 0.5}, "could not be computed"),
        ((slice_of(0.9),), {"max_drop_from_baseline": 0.5}, "no change from the baseline of 'accuracy'"),
        ((slice_of(0.9, metric_name="auc"),), {"at_least": 0.5}, "no value of 'accuracy' on this slice (metrics: auc)"),
        ((slice_of(0.9, examples=29),), {"at_least": 0.95}, "fewer than 30"),
        ((slice_of(0.9),), {"at_least": 0.5, "slices": ("label=6",)}, "no slice 'label=6'"),
        ((slice_of(0.9),), {"at_least": 0.5, "slices": ("label",)}, "no slice 'label'"),
    ],
)
def test_not_enough_data_when_the_evaluation_cannot_tell(slices, bound, words):
    found = decide(report(candidate("int8", *slices)), device(), policy({"name": "accuracy", **bound}))
    assert found.verdict == "not_enough_data"
    (check,) = found.candidates[0].reasons
    assert words in in_words(check).measured


def test_every_value_of_a_feature_is_held_when_bound_names_the_feature():
    slices = (
        slice_of(0.99),
        slice_of(0.91, name="label=1"),
        slice_of(0.79, name="label=2"),
        slice_of(0.10, name="label=1, hand=left"),
        slice_of(0.93, name="label=Paris, France"),
    )
    found = decide(
        report(candidate("int8", *slices), baseline=(slice_of(0.9), slice_of(0.9, name="label=3"))),
        device(),
        policy({"name": "accuracy", "at_least": 0.8, "slices": ("label",)}),
    )
    checks = [check for check in found.candidates[0].checks if check.quantity == "accuracy"]
    assert {check.scope: check.verdict for check in checks} == {
        "label=1": "pass",
        "label=2": "fail",
        "label=Paris, France": "pass",
        "label=3": "not_enough_data",  # the baseline was measured on it, the candidate was not
    }


def test_check_reports_bound_and_measured_in_figures_when_it_fails():
    found = decide(
        report(candidate("int8", slice_of(metric(0.8312, (0.808, 0.8544)), metric(-0.0188, (-0.03, -0.01))))),
        device(),
        policy({"name": "accuracy", "at_least": 0.85, "max_drop_from_baseline": 0.01}),
    )
    numbers, _ = found.candidates[0].reasons
    assert (numbers.bound, numbers.measured, numbers.lower, numbers.upper) == (0.85, 0.8312, 0.808, 0.8544)
    absolute, relative = map(in_words, found.candidates[0].reasons)
    assert (absolute.what, absolute.where, absolute.bound) == ("accuracy", "overall", "at least 0.85")
    assert absolute.measured == "0.8312 [0.808, 0.8544], 1,000 examples"
    assert (relative.what, relative.bound) == ("change of accuracy", "a drop of at most 0.01")
    assert relative.measured == "-0.0188 [-0.03, -0.01], 1,000 examples (0.8312 against 0.85)"


FINE = {"name": "accuracy", "at_least": 0.5}


@pytest.mark.parametrize(
    ("profile", "facts", "what", "measured"),
    [
        ({}, {"scheme": "float16"}, "scheme", "float16"),
        (
            {"operators": ("CONV_2D",)},
            {"operators": ("CONV_2D", "WHILE", "IF")},
            "operators",
            "not available: IF, WHILE",
        ),
        ({"integer_only": True}, {"floats": ("a", "b", "c", "d")}, "float tensors", "4 (a, b, c, ...)"),
        ({"max_file_bytes": 999}, {"size": 1000}, "file bytes", "1,000"),
        ({"max_latency_ratio": 0.5}, {"ratio": 0.51}, "latency ratio", "0.51"),
    ],
)
def test_device_budget_fails_when_exceeded_and_passes_when_met(profile, facts, what, measured):
    found = decide(report(candidate(**facts)), device(**profile), policy(FINE))
    assert found.verdict == "fail"
    (check,) = map(in_words, found.candidates[0].reasons)
    assert (check.what, check.where, check.measured) == (what, "phone", measured)
    met = decide(
        report(candidate(size=999, ratio=0.5)),
        device(operators=("CONV_2D",), integer_only=True, max_file_bytes=999, max_latency_ratio=0.5),
        policy(FINE),
    )
    assert met.verdict == "pass"
    assert len(met.candidates[0].checks) == 6


def test_latency_is_not_enough_data_when_unjudged_but_bounded():
    unjudged = candidate(ratio=None).model_copy(
        update={"latency": Latency(microseconds=9.0, ratio=None, note="under 20 microseconds")}
    )
    found = decide(report(unjudged), device(max_latency_ratio=1.0), policy(FINE))
    assert found.verdict == "not_enough_data"
    assert in_words(found.candidates[0].reasons[0]).measured == "not judged: under 20 microseconds"
    assert decide(report(unjudged), device(), policy(FINE)).verdict == "pass"


@pytest.mark.parametrize(
    ("limit", "estimate", "test"),
    [
        (0.4, "fail", "fail"),
        (0.47, "fail", "not_enough_data"),
        (0.52, "pass", "not_enough_data"),
        (0.6, "pass", "pass"),
    ],
)
def test_latency_is_judged_by_its_interval_unless_by_the_estimate(limit, estimate, test):
    latency = Latency(microseconds=9.0, ratio=0.5, lower=0.45, upper=0.55)
    timed = candidate("int8", slice_of(0.84, -0.01, examples=100_000)).model_copy(update={"latency": latency})
    for decide_on, verdict in (("estimate", estimate), ("interval", test), ("test", test)):
        found = decide(report(timed), device(max_latency_ratio=limit), policy(FINE, decide_on=decide_on))
        (check,) = (each for each in found.candidates[0].checks if each.quantity == "latency ratio")
        assert check.verdict == verdict
        assert (check.lower, check.upper) == (0.45, 0.55)
        if verdict == "not_enough_data":
            assert check.note == ": the bound is within the interval"


def test_unconverted_candidate_fails_with_its_message_when_others_pass():
    failed = CandidateReport(
        recipe={"name": "gru", "scheme": "static_wi8_ai8"},
        outcome=ConversionFailure(
            scheme="static_wi8_ai8", cause="crashed", message="died of signal 11.", remedy="unroll the loop"
        ),
    )
    found = decide(report(failed, candidate("int8")), device(), policy(FINE))
    assert (found.verdict, found.chosen) == ("pass", "int8")
    (check,) = found.candidates[0].checks
    assert check.verdict == "fail"
    assert check.measured == "crashed: died of signal 11. Remedy: unroll the loop"


def test_candidate_without_digest_fails_when_all_else_passes():
    nameless = candidate().model_copy(update={"sha256": None})
    assert decide(report(nameless), device(), policy(FINE)).verdict == "fail"


A = candidate("a", slice_of(0.90, 0.0), size=3000, ratio=0.4)
B = candidate("b", slice_of(0.92, 0.0), size=2000, ratio=0.6)
C = candidate("c", slice_of(0.91, 0.0), size=1000, ratio=None)


@pytest.mark.parametrize(("prefer", "chosen"), [("smallest", "c"), ("fastest", "a"), ("most_accurate", "b")])
def test_best_is_blessed_by_preference_when_several_pass(prefer, chosen):
    found = decide(report(A, B, C), device(), policy(FINE, prefer=prefer))
    assert (found.verdict, found.chosen, found.chosen_sha256) == ("pass", chosen, f"digest of {chosen}")
    assert chosen in found.why
    assert "of 3 candidates that pass" in found.why


def test_failing_candidate_is_never_blessed_when_it_is_the_smallest():
    found = decide(report(A, B, C), device(), policy({"name": "accuracy", "at_least": 0.915}))
    assert found.chosen == "b"
    assert found.why == "b is the only candidate that passes (2,000 bytes)"


@pytest.mark.parametrize("prefer", ["smallest", "fastest", "most_accurate"])
def test_ties_go_to_accurate_then_small_then_first_when_equal(prefer):
    first = candidate("first", slice_of(0.90, 0.0))
    second = candidate("second", slice_of(0.90, 0.0))
    assert decide(report(first, second), device(), policy(FINE, prefer=prefer)).chosen == "first"
    assert decide(report(second, first), device(), policy(FINE, prefer=prefer)).chosen == "second"
    if prefer != "smallest":
        small = candidate("small", slice_of(0.90, 0.0), size=10)
        assert decide(report(first, small), device(), policy(FINE, prefer=prefer)).chosen == "small"
    if prefer != "most_accurate":
        accurate = candidate("accurate", slice_of(0.95, 0.0))
        assert decide(report(first, accurate), device(), policy(FINE, prefer=prefer)).chosen == "accurate"


def test_less_is_more_accurate_when_first_metric_is_bounded_above_only():
    good = candidate("good", slice_of(0.1, 0.0, metric_name="mse"))
    bad = candidate("bad", slice_of(0.2, 0.0, metric_name="mse"))
    found = decide(report(bad, good), device(), policy({"name": "mse", "at_most": 0.5}, prefer="most_accurate"))
    assert found.chosen == "good"


def test_verdict_is_not_enough_data_when_one_lacks_data_and_the_rest_fail():
    lacking, failing = candidate("lacking", slice_of(NAN)), candidate("failing", slice_of(0.1))
    both = decide(report(lacking, failing), device(), policy(FINE))
    assert (both.verdict, both.chosen, both.chosen_sha256) == ("not_enough_data", None, None)
    assert both.why == (
        "no candidate passes: lacking (too little data for accuracy on overall), failing (accuracy on overall)"
    )
    assert decide(report(failing), device(), policy(FINE)).verdict == "fail"
    assert decide(report(), device(), policy(FINE)).verdict == "fail"


def test_fail_beats_not_enough_data_when_one_candidate_has_both():
    found = decide(report(candidate("int8", slice_of(NAN), size=2000)), device(max_file_bytes=1), policy(FINE))
    assert found.candidates[0].verdict == "fail"
    assert [check.verdict for check in found.candidates[0].reasons] == ["fail", "not_enough_data"]


def test_report_survives_json_when_a_metric_is_nan():
    written = report(candidate("int8", slice_of(NAN))).model_dump_json()
    again = EvaluationReport.model_validate_json(written)
    assert math.isnan(again.candidates[0].slices[0].metrics["accuracy"].value)


@pytest.mark.parametrize("wanted", ["hand, label", "label, hand", "hand, label=1", "hand=left, label=1"])
def test_crossed_slice_is_held_when_its_features_are_named_in_any_order(wanted):
    slices = (slice_of(0.9), slice_of(0.1, name="hand=left, label=1"), slice_of(0.9, name="hand=left"))
    bound = {"name": "accuracy", "at_least": 0.8, "slices": (wanted,)}
    found = decide(report(candidate("int8", *slices)), device(), policy(bound))
    assert [c.scope for c in found.candidates[0].reasons] == ["hand=left, label=1"]


@pytest.mark.parametrize(("less_is_better", "chosen"), [(True, "good"), (False, "bad"), (None, "bad")])
def test_known_direction_ranks_accuracy_when_bounds_would_say_otherwise(less_is_better, chosen):
    good, bad = (candidate(name, slice_of(value, metric_name="mae")) for name, value in (("good", 0.2), ("bad", 0.4)))
    both = policy({"name": "mae", "at_least": 0.1, "at_most": 0.5}, prefer="most_accurate")
    assert decide(report(good, bad), device(), both, less_is_better).chosen == chosen


def test_smallest_is_taken_and_said_when_fastest_is_wanted_and_none_was_timed():
    large = candidate("large", slice_of(0.95), size=2000, ratio=None)
    small = candidate("small", slice_of(0.90), size=1000, ratio=None)
    found = decide(report(large, small), device(), policy(FINE, prefer="fastest"))
    assert found.chosen == "small"
    assert found.why == (
        "latency was not judged, so the smallest was chosen instead of the fastest: small of 2 candidates that pass "
        "(1,000 bytes)"
    )


def test_refusal_reports_the_real_reason_and_a_fix_when_latency_is_unjudged():
    note = "under 20 microseconds nothing is judged"
    unjudged = [
        candidate(name).model_copy(update={"latency": Latency(microseconds=9.0, ratio=None, note=note)})
        for name in ("a", "b")
    ]
    found = decide(report(*unjudged), device(max_latency_ratio=1.0), policy(FINE))
    assert found.why == (
        f"no candidate passes: a (latency ratio not judged: {note}), b (latency ratio not judged: {note}); "
        "remove max_latency_ratio from the device profile, or increase the work per call"
    )


def test_refusal_names_the_operators_when_the_device_lacks_them():
    found = decide(
        report(candidate(operators=("CONV_2D", "WHILE", "IF"))), device(operators=("CONV_2D",)), policy(FINE)
    )
    assert found.why == "no candidate passes: int8 (operators not available: IF, WHILE)"


def test_refusal_asks_for_another_run_when_the_machine_was_noisy():
    noisy = Latency(microseconds=99.0, ratio=None, note="too noisy", transient=True)
    found = decide(
        report(candidate().model_copy(update={"latency": noisy})), device(max_latency_ratio=1.0), policy(FINE)
    )
    assert found.why == (
        "no candidate passes: int8 (latency ratio not judged: too noisy); run again on a quieter machine"
    )


# Bounds and sizes are all unequal, so that one read in the place of another is noticed.
@pytest.mark.parametrize(
    ("bound", "what", "measured", "verdict"),
    [
        ({"max_file_bytes": 1000}, "file bytes", "1,000", "pass"),
        ({"max_file_bytes": 999}, "file bytes", "1,000", "fail"),
        ({"max_gzip_bytes": 700}, "gzip bytes", "700", "pass"),
        ({"max_gzip_bytes": 699}, "gzip bytes", "700", "fail"),
        ({"max_zstd_bytes": 600}, "zstd bytes", "600", "pass"),
        ({"max_zstd_bytes": 599}, "zstd bytes", "600", "fail"),
    ],
)
def test_each_size_is_held_to_its_own_bound(bound, what, measured, verdict):
    judged = decide(report(candidate(gzip=700, zstd=600)), device(**bound), policy({"name": "accuracy", "at_least": 0}))
    (check,) = [in_words(one) for one in judged.candidates[0].checks if one.quantity.endswith("bytes")]
    limit = next(iter(bound.values()))
    assert (check.what, check.measured, check.verdict) == (what, measured, verdict)
    assert check.bound == f"at most {limit:,}"


def test_compressed_bound_is_not_enough_data_when_no_compressed_size_was_measured():
    judged = decide(report(candidate()), device(max_gzip_bytes=10_000), policy({"name": "accuracy", "at_least": 0}))
    assert judged.verdict == "not_enough_data"


def test_smallest_compressed_takes_the_other_candidate_when_the_larger_file_compresses_better():
    clustered = candidate("clustered", size=2000, gzip=500, zstd=900)
    plain = candidate("plain", size=1000, gzip=800, zstd=700)
    unknown = candidate("unknown", size=10)
    bounds = {"name": "accuracy", "at_least": 0}
    both = report(plain, clustered, unknown)
    taken = decide(both, device(), policy(bounds, prefer="smallest_compressed"))
    assert taken.chosen == "clustered"
    assert taken.why == "clustered is the smallest when compressed of 3 candidates that pass (500 bytes under gzip)"
    assert decide(report(plain, clustered), device(), policy(bounds, prefer="smallest")).chosen == "plain"


def test_sparse_encoded_weights_fail_on_a_device_that_cannot_read_them():
    def weight(sparse):
        return TensorFact(name="kernel", shape=(4, 16), dtype="INT8", bytes=9, scales=1, sparse_encoded=sparse)

    bounds = policy({"name": "accuracy", "at_least": 0})
    for sparse, sparse_weights, verdict in (
        (True, False, "fail"),
        (False, False, "pass"),
        (True, True, "pass"),
    ):
        facts = report(candidate(weights=(weight(sparse), weight(False))))
        assert decide(facts, device(sparse_weights=sparse_weights), bounds).verdict == verdict
    decision = decide(report(candidate(weights=(weight(True),))), device(sparse_weights=False), bounds)
    assert decision.candidates[0].reasons[0].measured == "1 (kernel)"


def test_a_release_from_before_checks_were_numeric_can_be_read():
    earlier = {"what": "accuracy", "where": "overall", "bound": "at least 0.8", "measured": "0.9", "verdict": "pass"}
    read = CandidateDecision.model_validate({"candidate": "int8", "verdict": "pass", "checks": [earlier]})
    assert in_words(read.checks[0]).model_dump() == earlier
    assert CandidateDecision.model_validate_json(read.model_dump_json()) == read
