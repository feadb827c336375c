import numpy as np
import pytest
from scipy import stats

from components.metrics.jackknife_error import standard_error


def without_each(buckets):
    return [np.concatenate(buckets[:i] + buckets[i + 1 :]).mean() for i in range(len(buckets))]


def test_standard_error_is_that_of_the_bucket_means_when_buckets_are_equal():
    buckets = list(np.random.default_rng(1).normal(size=(20, 7)))
    error = standard_error(np.mean(buckets), without_each(buckets), [7] * 20)
    assert error == pytest.approx(np.mean(buckets, axis=1).std(ddof=1) / np.sqrt(20), rel=1e-12)


def test_standard_error_is_busings_when_buckets_are_unequal():
    random = np.random.default_rng(2)
    buckets = [random.normal(size=size) for size in (3, 11, 6, 1)]
    everything = np.concatenate(buckets)
    n = len(everything)
    # For a mean, the pseudo-value of a bucket is the bucket's own mean.
    mean = 4 * everything.mean() - sum(
        (1 - len(b) / n) * w for b, w in zip(buckets, without_each(buckets), strict=True)
    )
    expected = np.sqrt(sum(len(b) / (n - len(b)) * (b.mean() - mean) ** 2 for b in buckets) / 4)
    error = standard_error(everything.mean(), without_each(buckets), [3, 11, 6, 1])
    assert error == pytest.approx(expected, rel=1e-12)


def test_standard_error_of_groups_is_kotts_when_they_are_unequal():
    buckets = [np.ones(3), np.zeros(11), np.ones(6), np.zeros(1)]
    # 9 of 21, and the shares without each of the groups.
    deleted = [6 / 18, 9 / 10, 3 / 15, 9 / 20]
    assert without_each(buckets) == pytest.approx(deleted)
    expected = np.sqrt(3 / 4 * sum((each - 9 / 21) ** 2 for each in deleted))
    assert standard_error(9 / 21, deleted, [3, 11, 6, 1], grouped=True) == pytest.approx(expected, rel=1e-12)


def test_interval_covers_the_truth_as_often_as_it_says_when_drawn_1000_times():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        right = random.random(300) < 0.8
        numbers = random.integers(20, size=300)
        buckets = [right[numbers == bucket] for bucket in range(20)]
        error = standard_error(right.mean(), without_each(buckets), [len(bucket) for bucket in buckets])
        covered += abs(right.mean() - 0.8) <= stats.t.ppf(0.975, 19) * error
    assert 930 <= covered <= 970
