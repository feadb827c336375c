"""Spreading a sparsity, against all choices of a grid."""

import itertools

import numpy as np
import pytest

from components.prune.masks import spread

LEVELS = (0.25, 0.5, 0.75, 1.0)


def total(errors: list[list[float]], sparsities: tuple[float, ...]) -> float:
    grid = (0.0, *LEVELS)
    return sum(float(np.interp(s, grid, [0.0, *layer])) for s, layer in zip(sparsities, errors, strict=True))


def test_no_choice_of_the_same_sparsity_has_a_smaller_error() -> None:
    sizes = [100, 300, 200]
    errors = [[0.1, 0.4, 1.0, 3.0], [0.01, 0.05, 0.2, 4.0], [0.0, 0.3, 0.7, 1.2]]
    found = spread(sizes, LEVELS, errors, 0.6)
    assert np.dot(found, sizes) == pytest.approx(0.6 * 600)
    steps = np.linspace(0, 1, 41)
    for choice in itertools.product(steps, repeat=3):
        if np.dot(choice, sizes) >= 0.6 * 600:
            assert total(errors, found) <= total(errors, choice) + 1e-9
    assert found[1] > found[0]


def test_equal_layers_have_nearly_the_same() -> None:
    found = spread([10, 10], (0.5, 0.9), [[0.1, 0.9], [0.1, 0.9]], 0.5)
    assert found == pytest.approx((0.5, 0.5))


def test_no_layer_has_more_than_the_highest_level() -> None:
    assert spread([10, 30], (0.5, 0.9), [[0.1, 0.2], [0.1, 9.0]], 0.95) == pytest.approx((0.9, 0.9))


def test_error_that_falls_by_chance_is_no_gain() -> None:
    found = spread([10, 10], (0.5, 0.9), [[0.4, 0.1], [0.1, 0.15]], 0.45)
    assert found == pytest.approx((0.0, 0.9))
