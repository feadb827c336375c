import numpy as np
import pytest

from components.calibrate.reservoir import balanced, proportional, water_level


def poured(available, total):
    """One example at a time to the stratum with the fewest so far: balanced shares by definition."""
    shares = [0] * len(available)
    for _ in range(min(total, sum(available))):
        open_strata = [index for index, count in enumerate(available) if shares[index] < count]
        shares[min(open_strata, key=lambda index: (shares[index], index))] += 1
    return shares


def test_proportional_gives_largest_remainders_when_shares_are_fractions():
    # Quotas 4.7, 3.0, 1.6, 0.7: the two left over go to the strata with .7.
    assert proportional([47, 30, 16, 7], 10) == [5, 3, 1, 1]


def test_proportional_prefers_earlier_strata_when_remainders_are_equal():
    assert proportional([1] * 6, 4) == [1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("share", [proportional, balanced])
def test_apportionment_takes_everything_when_less_is_available(share):
    assert share([3, 0, 5], 9) == [3, 0, 5]


@pytest.mark.parametrize("seed", range(20))
def test_proportional_stays_within_quota_and_sums_when_counts_are_random(seed):
    generator = np.random.default_rng(seed)
    available = generator.integers(0, 1000, generator.integers(1, 40)).tolist()
    total = int(generator.integers(1, 2000))
    shares = proportional(available, total)
    assert sum(shares) == min(total, sum(available))
    if sum(available) > total:
        exact = [total * count / sum(available) for count in available]
        assert all(
            abs(share - quota) < 1 and share <= count
            for share, quota, count in zip(shares, exact, available, strict=True)
        )


@pytest.mark.parametrize("seed", range(20))
def test_balanced_equals_pouring_one_by_one_when_counts_are_random(seed):
    generator = np.random.default_rng(seed)
    available = generator.integers(0, 60, generator.integers(1, 30)).tolist()
    total = int(generator.integers(1, 800))
    assert balanced(available, total) == poured(available, total)


def test_water_level_never_rises_when_examples_are_added():
    generator = np.random.default_rng(3)
    counts, levels = [40, 40, 40], []
    for _ in range(300):
        levels.append(water_level(counts, 100))
        counts[generator.integers(0, 3)] += 1
        counts += [1] * int(generator.random() < 0.1)
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == 33 and levels[-1] < levels[0]
