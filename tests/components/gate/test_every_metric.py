"""The gate bounds every ready-made metric, of any output and on any slice, in both directions."""

from __future__ import annotations

import pytest

from components.facts.evaluation import SliceResult
from components.gate.policy import decide
from components.spec.metric import READY_MADE, SHORT_NAMES, MetricSpec
from tests.components.gate.test_policy import candidate, device, metric, policy, report

FUNCTIONS = sorted(name for name, given in SHORT_NAMES.items() if "function" in given)
# Values of the two outputs by slice, and what the baseline had. Each is another number.
VALUES = {"overall": {"left": 0.61, "right": 0.42}, "site=a": {"left": 0.33, "right": 0.74}}
BEFORE = {"overall": {"left": 0.66, "right": 0.40}, "site=a": {"left": 0.35, "right": 0.70}}


def slices(values: dict[str, dict[str, float]], name: str, change: bool) -> tuple[SliceResult, ...]:
    return tuple(
        SliceResult(
            slice=each,
            examples=1000,
            metrics={f"{name}_{output}": metric(value) for output, value in of.items()},
            change={f"{name}_{output}": metric(value - BEFORE[each][output]) for output, value in of.items()}
            if change
            else {},
        )
        for each, of in values.items()
    )


@pytest.mark.parametrize("where", VALUES)
@pytest.mark.parametrize("output", ["left", "right"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_bound_just_above_or_below_the_value_decides(name: str, output: str, where: str) -> None:
    given = MetricSpec.model_validate({"name": f"{name}_{output}", "output": output, **SHORT_NAMES[name]})
    less = READY_MADE[given.function].less_is_better
    assert given.less_is_better is less
    evaluation = report(
        candidate("int8", *slices(VALUES, name, change=True)), baseline=slices(BEFORE, name, change=False)
    )

    def verdict(**bound: float) -> str:
        asked = policy({"name": given.name, "slices": [where], **bound}, decide_on="estimate")
        return str(decide(evaluation, device(), asked).candidates[0].verdict)

    value, lost = VALUES[where][output], BEFORE[where][output] - VALUES[where][output]
    if less:
        absolute, relative, sign = "at_most", "max_rise_from_baseline", 1
        lost = -lost
    else:
        absolute, relative, sign = "at_least", "max_drop_from_baseline", -1
    assert verdict(**{absolute: value + sign * 1e-6}) == "pass"
    assert verdict(**{absolute: value - sign * 1e-6}) == "fail"
    assert verdict(**{relative: max(lost + 1e-6, 0)}) == "pass"
    if lost > 0:
        assert verdict(**{relative: lost - 1e-6}) == "fail"
