"""The bound on the states of a lowered recurrent model."""

import pytest

from components.facts.conversion import Converted, Inspection, StateErrors
from components.gate.checks import step_checks
from components.spec.gate import GateSpec, MetricBound
from pipelines.report.wording import in_words

INSPECTION = Inspection(
    file_bytes=1, weight_bytes=1, operators=(), dtype_counts={}, inputs=(), outputs=(), weights=(), float_tensors=(),
    stateful=False,
)  # fmt: skip


def checks(rms, limit):
    steps = None if rms is None else StateErrors(examples=20, rms=rms, worst=tuple(2 * one for one in rms))
    outcome = Converted(inspection=INSPECTION, seconds=1, peak_memory_bytes=1, state_errors=steps)
    policy = GateSpec(metrics=(MetricBound(name="accuracy", at_least=0.5),), max_state_error=limit)
    return list(step_checks("gru", outcome, policy))


@pytest.mark.parametrize(("limit", "verdict"), [(0.03, "pass"), (0.0299, "fail"), (0.031, "pass")])
def test_greatest_error_of_any_step_is_compared_with_the_bound(limit, verdict):
    (check,) = checks((0.01, 0.03, 0.02), limit)
    assert check.verdict == verdict
    assert in_words(check).measured == "0.03 after step 2 of 3, 20 sequences"
    assert in_words(check).bound == f"at most {limit:.6g} at every time step"


def test_nothing_is_checked_without_a_bound_or_without_states():
    assert checks((0.5,), None) == []
    assert checks(None, 0.1) == []
