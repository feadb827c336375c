"""What weights keep under projection, against sums made by hand."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.fine_tune.constraints import Constraint, shares
from components.spec.steps.fine_tuning import WeightInvariants


def kernel(*values: float) -> Any:
    return tf.Variable(np.asarray(values, np.float32).reshape(2, -1))


def moved(variable: Any, invariants: WeightInvariants, by: list[float]) -> list[float]:
    constraint = Constraint([variable], invariants)
    constraint(0, 10)
    variable.assign_add(np.asarray(by, np.float32).reshape(variable.shape))
    constraint(1, 10)
    return variable.numpy().reshape(-1).tolist()


def test_zeros_stay_and_others_move() -> None:
    found = moved(kernel(0, 1, 2, 0, 3, 4), WeightInvariants(zeros=True), [1, 1, -2.5, 1, 1, 1])
    assert found == [0, 2, -0.5, 0, 4, 5]


def test_weights_that_are_equal_move_by_their_mean() -> None:
    found = moved(kernel(1, 1, 2, 0, 2, 0), WeightInvariants(num_clusters=3), [1, 0, 3, 2, 1, 4])
    assert found == [1.5, 1.5, 4, 3, 4, 3]


def test_shared_zero_stays_where_zeros_do() -> None:
    found = moved(kernel(1, 1, 2, 0, 2, 0), WeightInvariants(zeros=True, num_clusters=3), [1, 0, 3, 2, 1, 4])
    assert found == [1.5, 1.5, 4, 0, 4, 0]


def test_kernel_of_more_values_shares_none() -> None:
    assert shares(np.ones([3, 3]), WeightInvariants(num_clusters=2))
    assert not shares(np.arange(9.0), WeightInvariants(num_clusters=8))
    assert not shares(np.ones(2), WeightInvariants(num_clusters=2))
    assert not shares(np.ones(9), WeightInvariants())
    found = moved(kernel(1, 2, 3, 4, 5, 6), WeightInvariants(num_clusters=3), [1, 0, 0, 0, 0, 0])
    assert found == [2, 2, 3, 4, 5, 6]


def test_many_equal_weights_do_not_drift() -> None:
    variable = tf.Variable(np.full([500, 200], 0.1, np.float32))
    variable[0, 0].assign(3.0)
    constraint = Constraint([variable], WeightInvariants(num_clusters=2))
    for done in range(500):
        constraint(done, 10)
    assert variable[1, 1].numpy() == pytest.approx(0.1, rel=1e-7)
