"""Sums of errors, against plain formulas."""

import numpy as np
import pytest

from components.explain.cures import Situation, cure
from components.explain.errors import LARGEST, TensorErrors, relative
from components.spec.scheme import StaticWi8Ai8


def test_errors_are_sums_over_examples() -> None:
    random = np.random.default_rng(1)
    wanted, found, alone, weights = random.normal(size=(4, 5, 1, 3, 4))
    errors = TensorErrors(None, 0.0)
    for example in zip(wanted, found, alone, weights, strict=True):
        errors.add(*example)
    signal = (wanted**2).sum()
    assert errors.total == pytest.approx(((found - wanted) ** 2).sum() / signal)
    assert errors.own == pytest.approx(((found - alone) ** 2).sum() / signal)
    assert errors.weights == pytest.approx(((weights - alone) ** 2).sum() / signal)
    assert errors.activations == pytest.approx(((found - weights) ** 2).sum() / signal)
    of_channels = ((found - alone) ** 2).sum(axis=(0, 1, 2)) / (wanted.reshape(-1, 4).var(axis=0) * 15)
    assert errors.medians[0] == pytest.approx(np.median(of_channels))


def test_values_beyond_the_limits_are_counted() -> None:
    errors = TensorErrors((0.0, 1.0), 0.1)
    # 1.04 and -0.04 round to the limits, which is no loss.
    wanted = np.array([[0.5, 1.04, 1.5, -0.2, -0.04]])
    errors.add(wanted, np.clip(wanted, 0, 1), wanted, wanted)
    assert (errors.beyond, errors.values) == (2, 5)
    assert errors.clipped == pytest.approx((0.5**2 + 0.2**2) / (2 * 0.04**2 + 0.5**2 + 0.2**2))


def test_a_channel_that_does_not_vary_does_not_count() -> None:
    errors = TensorErrors(None, 0.0)
    for value in (1.0, 2.0):
        wanted = np.array([[value, 7.0]])
        errors.add(wanted, wanted + np.array([0.1, 5.0]), wanted, wanted)
    assert errors.medians[0] == pytest.approx(2 * 0.1**2 / 0.5)


def test_values_that_are_not_finite_are_a_bounded_error() -> None:
    errors = TensorErrors(None, 0.0)
    wanted = np.ones((1, 2))
    errors.add(wanted, np.array([[np.nan, np.inf]]), wanted, wanted)
    assert errors.own == LARGEST
    assert relative(0.0, 0.0) == 0.0
    assert relative(1.0, 0.0) == LARGEST


def test_parts_of_a_concatenation_have_errors_of_their_own() -> None:
    errors = TensorErrors(None, 0.0, parts=(1, 2), axis=1)
    wanted = np.array([[2.0, 1.0, 1.0]])
    errors.add(wanted, np.array([[2.0, 0.0, 0.0]]), wanted, wanted)
    assert errors.of_parts == (0.0, 1.0)


def test_cure_does_not_add_training_to_a_recipe_that_trains() -> None:
    for steps, words in (((), "add a `qat` step"), (({"kind": "qat"},), "for more epochs")):
        recipe = {"name": "int8", "steps": steps}
        at = Situation(recipe=recipe, scheme=StaticWi8Ai8(), layers=(), layer="", kind="", operators=frozenset())
        for cause in ("weights", "activations", "not_finite"):
            said = cure(cause, at).words
            assert words in said
            assert ("qat` step" in said) == (not steps)


@pytest.mark.parametrize("factor", [3e2, 3e4, 3e6, 3e9])
def test_channels_count_however_large_another_one_is(factor: float) -> None:
    """All but one channel are lost, so the median of the channels' errors is their variation, and not none."""
    errors = TensorErrors(None, 0.0)
    values = np.random.default_rng(0).uniform(0.5, 1.5, (200, 4))
    wanted = values * [factor, 1.0, 1.0, 1.0]
    lost = wanted * [1.0, 0.0, 0.0, 0.0]
    errors.add(wanted, lost, wanted, wanted)
    assert errors.own < 1e-4
    # A value of 1 was lost, whose variance is 1/12.
    assert errors.medians[0] == pytest.approx(13, rel=0.1)
    # A channel that is constant except for rounding doesn't vary.
    steady = TensorErrors(None, 0.0)
    steady.add(np.full((200, 1), 1e3) + 1e-4 * values[:, :1] * 1e-2, wanted[:, :1], wanted[:, :1], wanted[:, :1])
    assert steady.medians == (0.0, 0.0, 0.0)
