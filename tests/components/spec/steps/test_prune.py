"""What a step `prune` can say, and how its sparsity rises."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.spec.steps.prune import PruneStep, sparsity_at


def step(**said: Any) -> PruneStep:
    return PruneStep.model_validate({"kind": "prune", "epochs": 3, "sparsity": 0.8, **said})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"sparsity": 50}, "sparsity is a fraction in [0, 1); did you mean 0.5?"),
        ({"sparsity": 1.0}, "sparsity is a fraction in [0, 1)"),
        ({"sparsity": -0.1}, "sparsity is a fraction in [0, 1)"),
        ({"targets": [{"layers": ["a"], "sparsity": 30}]}, "did you mean 0.3?"),
        ({"sparsity": None}, "`sparsity` is required"),
        ({"structure": "2:4"}, "2:4 is a sparsity of 0.5 in every layer"),
        ({"structure": "2:4", "sparsity": None, "schedule": "polynomial"}, "use the schedule `constant`"),
        ({"structure": "2:4", "sparsity": None, "spread": "sensitivity"}, "nothing to spread"),
        ({"spread": "sensitivity", "targets": [{"layers": ["a"], "sparsity": 0.3}]}, "remove `targets` or `spread`"),
        (
            {"schedule": {"kind": "polynomial", "end_epoch": 4}},
            "the schedule must end before training does: end_epoch 4 is not below epochs (3)",
        ),
        ({"schedule": {"kind": "constant", "begin_epoch": 3}}, "begin_epoch 3 is not below epochs (3)"),
        ({"schedule": {"kind": "polynomial", "begin_epoch": 2, "end_epoch": 1}}, "begin_epoch (2) is not below"),
        ({"epochs": 1, "early_stopping": {}}, "epochs (1) leaves none"),
    ],
)
def test_bad_step_is_reported(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        step(**said)
    assert message in str(caught.value)


def test_two_of_four_is_a_half() -> None:
    assert step(structure="2:4", sparsity=None).wanted == 0.5
    assert step(structure="2:4", sparsity=None).ends == 0


def test_polynomial_schedule_is_that_of_the_toolkit() -> None:
    from tensorflow_model_optimization.sparsity.keras import PolynomialDecay

    ours = step(schedule={"kind": "polynomial", "initial": 0.2, "begin_epoch": 0.5, "end_epoch": 2.5})
    theirs = PolynomialDecay(0.2, 0.8, begin_step=50, end_step=250, power=3, frequency=1)
    for number in range(50, 300):
        assert sparsity_at(ours, 0.8, number / 100) == pytest.approx(float(theirs(np.int64(number))[1]), abs=1e-6)
    assert sparsity_at(ours, 0.8, 0.49) == 0


def test_layer_of_less_sparsity_than_the_schedule_begins_with_begins_with_its_own() -> None:
    assert sparsity_at(step(schedule={"kind": "polynomial", "initial": 0.5}), 0.3, 0.0) == 0.3


def test_constant_schedule_is_all_or_nothing() -> None:
    constant = step(schedule={"kind": "constant", "begin_epoch": 1})
    assert [sparsity_at(constant, 0.8, epoch) for epoch in (0, 0.99, 1, 2.5)] == [0, 0, 0.8, 0.8]
