"""Estimators against oracles that know nothing of histograms: brute force over the raw values."""

import numpy as np
import pytest

from components.ranges.histogram import ActivationHistogram
from components.ranges.range_estimators import estimate_range
from components.spec.ranges import Entropy, MeanSquaredError, MinMax, Percentile

RANDOM = np.random.default_rng(7)
SETS = {
    "normal": RANDOM.normal(size=50_000),
    "laplace": RANDOM.laplace(size=50_000),
    "relu": np.maximum(RANDOM.normal(size=50_000), 0.0),
    "student": RANDOM.standard_t(4, 50_000),
    "uniform": RANDOM.uniform(-1, 3, 50_000),
    "all_negative": -np.abs(RANDOM.normal(size=20_000)),
}
ALL = [MinMax(), Percentile(), MeanSquaredError(), Entropy()]


def histogram_of(values):
    histogram = ActivationHistogram()
    for part in np.array_split(values, 9):
        histogram.add(part)
    return histogram


def estimate(values, ranges, bits=8):
    return estimate_range(histogram_of(values), ranges, bits)


def squared_error(values, low, high, bits=8):
    """What integers of this range make of the values (Jacob et al. 2018, eq. 1)."""
    steps = 2**bits - (1 if bits == 8 else 2)
    scale = (high - low) / steps
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero, 0, steps)
    return float(np.mean(((codes - zero) * scale - values) ** 2))


@pytest.mark.parametrize("name", SETS)
def test_min_max_is_exact_and_holds_zero(name):
    values = SETS[name]
    assert estimate(values, MinMax()) == (min(values.min(), 0.0), max(values.max(), 0.0))
    bound = np.abs(values).max()
    assert estimate(values, MinMax(), 16) == (-bound, bound)


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99])
@pytest.mark.parametrize("name", SETS)
def test_percentile_is_numpys(name, percentile):
    values = SETS[name]
    low, high = estimate(values, Percentile(percentile=percentile))
    oracle = np.percentile(values, [100 - percentile, percentile])
    assert low == pytest.approx(min(oracle[0], 0.0), abs=0.005 * np.ptp(values))
    assert high == pytest.approx(max(oracle[1], 0.0), abs=0.005 * np.ptp(values))


def test_hundredth_percentile_is_min_max():
    values = SETS["student"]
    assert estimate(values, Percentile(percentile=100)) == pytest.approx(estimate(values, MinMax()))


@pytest.mark.parametrize("name", SETS)
def test_mse_is_within_three_percent_of_brute_force(name):
    values = SETS[name]
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    parts = 0.95 ** np.arange(30)
    best = min(squared_error(values, low * a, high * b) for a in parts for b in parts)
    found = squared_error(values, *estimate(values, MeanSquaredError()))
    assert found <= 1.03 * best
    assert found <= squared_error(values, low, high) * 1.001


# Where tails are long clipping pays; where there are none it does not.
@pytest.mark.parametrize(
    ("name", "least", "most"), [("student", 0.3, 0.97), ("normal", 0.7, 0.97), ("uniform", 0.99, 1)]
)
def test_mse_clips_tails_and_nothing_else(name, least, most):
    values = SETS[name]
    low, high = estimate(values, MeanSquaredError())
    assert least <= (high - low) / np.ptp(values) <= most


def test_mse_of_sixteen_bits_is_symmetric_and_keeps_more():
    values = SETS["student"]
    low, high = estimate(values, MeanSquaredError(), 16)
    assert low == -high
    eight = estimate(values, MeanSquaredError())
    assert high > max(-eight[0], eight[1])
    bound = np.abs(values).max()
    best = min(squared_error(values, -bound * a, bound * a, 16) for a in 0.98 ** np.arange(100))
    assert squared_error(values, low, high, 16) <= 1.03 * best


def divergence(values, threshold, levels):
    """Migacz' divergence of one threshold, from raw values, step by step."""
    magnitudes = np.abs(values[values != 0])
    counts, _ = np.histogram(magnitudes, 1024, (0, threshold))
    reference = counts.astype(float)
    reference[-1] += np.count_nonzero(magnitudes > threshold)
    candidate = np.zeros(1024)
    for level in range(levels):
        bins = [i for i in range(1024) if i * levels // 1024 == level]
        filled = [i for i in bins if counts[i]]
        for i in filled:
            candidate[i] = counts[bins].sum() / len(filled)
    reference, candidate = reference / reference.sum(), candidate / candidate.sum()
    candidate = 0.9999 * candidate + 0.0001 / 1024
    return sum(p * np.log(p / q) for p, q in zip(reference, candidate, strict=True) if p)


@pytest.mark.parametrize("name", ["relu", "laplace", "student"])
def test_entropy_is_as_good_as_a_search_over_raw_values(name):
    values = SETS[name]
    levels = 256 if name == "relu" else 128
    low, high = estimate(values, Entropy())
    searched = min(divergence(values, np.abs(values).max() * part, levels) for part in np.linspace(0.1, 1, 19))
    found = divergence(values, max(-low, high), levels)
    whole = divergence(values, np.abs(values).max(), levels)
    # Histograms of a finite sample are rough: of what whole and best differ by, it must find nearly all.
    assert found <= searched + 0.25 * (whole - searched) + 2e-3


def test_entropy_leaves_a_far_outlier_out_and_zeros_alone():
    values = np.append(np.maximum(RANDOM.normal(size=40_000), 0.0), 400.0)
    low, high = estimate(values, Entropy())
    assert low == 0.0
    assert 2.5 < high < 8.0
    dense = values[values > 0]
    assert estimate(dense, Entropy())[1] == pytest.approx(high, rel=0.05)


@pytest.mark.parametrize("ranges", ALL, ids=lambda ranges: ranges.kind)
@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [5.0, 5.0, 5.0], [-2.0], [], [np.nan]], ids=["zeros", "five", "negative", "none", "nan"]
)
def test_range_of_odd_tensors_holds_zero_and_all_values(ranges, values):
    low, high = estimate(np.array(values), ranges)
    assert low <= 0.0 <= high
    finite = np.array(values)[np.isfinite(values)]
    assert all(low <= value <= high for value in finite) or (low, high) == pytest.approx((finite.min(), 0), abs=1e-3)


def test_an_outlier_costs_min_max_bits_that_percentile_and_entropy_win_back():
    body = np.maximum(RANDOM.normal(size=40_000), 0.0)
    values = np.append(body, 200.0)
    errors = {ranges.kind: squared_error(body, *estimate(values, ranges)) for ranges in ALL}
    # Steps of 200 / 255 instead of about 4 / 255.
    assert errors["min_max"] > 30 * errors["entropy"]
    assert errors["min_max"] > 50 * errors["percentile"]
