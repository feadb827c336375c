import numpy as np
import pytest

from components.ranges.histogram import BINS, ActivationHistogram


def filled(*batches):
    histogram = ActivationHistogram()
    for batch in batches:
        histogram.add(np.asarray(batch))
    return histogram


def facts(histogram):
    return (
        (histogram.minimum, histogram.maximum, histogram.zeros, histogram.width),
        histogram.centers().tolist(),
        histogram.counts().tolist(),
    )


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).normal(size=5000),
        np.append(np.random.default_rng(2).normal(3.0, 0.01, 3000), [-4000.0, 0.0, 7e6]),
        np.random.default_rng(3).normal(size=3000).astype(np.float32) * np.float32(1e-30),
        np.array([0.0, 0.0, 0.0, 2.5, 2.5]),
    ],
    ids=["normal", "outliers", "tiny", "few"],
)
def test_histogram_is_the_same_in_any_order_and_batches(values):
    at_once = facts(filled(values))
    assert facts(filled(*np.array_split(values, min(7, len(values))))) == at_once
    assert facts(filled(*values[::-1][:, None][: len(values)].tolist())) == at_once


def test_bins_hold_what_lies_between_their_edges_when_the_range_grew():
    values = np.append(np.random.default_rng(4).normal(size=20_000), [300.0, -80.0])
    histogram = filled(values[:10], values[10:100], values[100:])
    counts, centers = histogram.counts(), histogram.centers()
    assert counts.size <= BINS and counts.size > BINS / 2 - 1
    first = np.floor(values.min() / histogram.width)
    edges = (first + np.arange(counts.size + 1)) * histogram.width
    assert counts.tolist() == np.histogram(values, edges)[0].tolist()
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
    assert centers.min() >= values.min() and centers.max() <= values.max()


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.5, 0.99, 0.9999])
def test_quantile_is_numpys_to_the_width_of_a_bin(fraction):
    values = np.append(np.random.default_rng(5).normal(size=200_000), 50.0)
    histogram = filled(*np.array_split(values, 20))
    oracle = np.quantile(values, fraction)
    # Between two neighbors of the oracle's rank, plus one bin.
    gap = np.ptp(np.sort(values)[int(fraction * values.size) - 2 : int(fraction * values.size) + 3])
    assert abs(histogram.quantile(fraction) - oracle) <= histogram.width + gap


def test_zeros_are_counted_apart_and_stay_out_of_magnitudes():
    histogram = filled([0.0, 0.0, 0.25, -0.25, 3.0], [0.0, -2.0])
    assert (histogram.zeros, histogram.total) == (3, 7)
    assert histogram.counts().sum() == 7
    assert histogram.nonzero_counts().sum() == 4
    magnitudes = histogram.magnitudes()
    assert magnitudes.sum() == 4
    assert magnitudes[0] == 0
    assert magnitudes[int(0.25 / histogram.width)] == 1 and magnitudes[int(0.25 / histogram.width) - 1] == 1


def test_values_that_are_not_finite_are_left_out():
    histogram = filled([1.0, np.nan, np.inf, -np.inf, 2.0], [np.nan])
    assert (histogram.minimum, histogram.maximum, histogram.total) == (1.0, 2.0, 2)


def test_picture_of_the_values_has_all_of_them():
    histogram = filled(np.random.default_rng(6).normal(size=1000))
    assert len(histogram.coarse(40)) == 40
    assert sum(histogram.coarse(40)) == 1000
    assert filled([3.0, 3.0]).coarse(40) == (2,)
