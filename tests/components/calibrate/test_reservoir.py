import hashlib
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from components.calibrate.reservoir import MAX_STRATA, Reservoir, priority, salt_of
from components.core.errors import DataError


def filled(items, samples, allocation="proportional", seed=7):
    reservoir = Reservoir(samples, allocation, seed)
    for stratum, content in items:
        reservoir.add(stratum, content)
    return reservoir


def contents(count, stratum=b"s", prefix="x"):
    return [(stratum, f"{prefix}{index}".encode()) for index in range(count)]


def least(contents_, count, seed):
    """The oracle: sort everything by keyed hash."""
    salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
    return sorted(contents_, key=lambda c: hashlib.blake2b(c, digest_size=16, salt=salt).digest())[:count]


def test_reservoir_takes_least_hashes_when_one_stratum():
    items = contents(5000)
    taken, counts = filled(items, 50).take()
    assert list(taken) == least([content for _, content in items], 50, 7)
    assert counts == {b"s": (5000, 50)}


@pytest.mark.parametrize("allocation", ["proportional", "balanced"])
@pytest.mark.parametrize("strata", [1, 5])
@pytest.mark.parametrize("parts", [2, 7, 60])
def test_reservoir_takes_the_same_when_split_and_shuffled(allocation, strata, parts):
    generator = random.Random(parts)
    items = [(b"%d" % (index % strata if index % 3 else 0), b"%d" % (index // 2)) for index in range(6000)]
    whole = filled(items, 62, allocation).take()
    shuffled = generator.sample(items, len(items))
    merged = Reservoir(62, allocation, 7)
    for part in range(parts):
        merged.merge(filled(shuffled[part::parts], 62, allocation))
    assert merged.take() == whole


@pytest.mark.parametrize("allocation", ["proportional", "balanced"])
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_reservoir_is_exact_and_small_when_strata_outnumber_samples(allocation, order):
    items = [(b"%d" % (index % 3000), b"%d" % index) for index in range(60_000)]
    items = sorted(items) if order == "sorted" else random.Random(1).sample(items, len(items))
    reservoir, most = Reservoir(100, allocation, 7), 0
    for stratum, content in items:
        reservoir.add(stratum, content)
        most = max(most, len(reservoir)) if content.endswith(b"99") else most
    taken, counts = reservoir.take()
    assert len(taken) == 100 == sum(count for _, count in counts.values())
    assert {available for available, _ in counts.values()} == {20}
    # 13 per stratum for proportional, 1 for balanced, next to the samples, and half as many again until sorted.
    assert most <= 1.5 * ({"proportional": 13, "balanced": 1}[allocation] * 3000 + 2 * 100) + 1
    own = defaultdict(list)
    for stratum, content in items:
        own[stratum].append(content)
    for stratum, (_, count) in counts.items():
        assert set(least(own[stratum], count, 7)) <= set(taken)


def test_reservoir_remembers_no_more_than_half_as_many_again_when_uniform():
    reservoir, most = Reservoir(100, "proportional", 7), 0
    for stratum, content in contents(20_000):
        reservoir.add(stratum, content)
        most = max(most, len(reservoir))
    assert 300 < most <= 1.5 * (2 * 100 + 13) + 1


def test_reservoir_counts_copies_when_contents_repeat():
    items = contents(10) * 30
    taken, counts = filled(items, 100).take()
    assert counts == {b"s": (300, 100)}
    order = least([content for _, content in contents(10)], 10, 7)
    assert Counter(taken) == {order[0]: 30, order[1]: 30, order[2]: 30, order[3]: 10}


def test_reservoir_takes_all_copies_when_fewer_than_asked():
    taken, _ = filled(contents(3) * 2, 100).take()
    assert Counter(taken) == {b"x0": 2, b"x1": 2, b"x2": 2}


def test_reservoir_takes_everyone_equally_often_when_over_many_seeds():
    items, draws = contents(40), 2000
    counts = Counter(content for seed in range(draws) for content in filled(items, 10, seed=seed).take()[0])
    times = np.array([counts[content] for _, content in items])
    # Sampling without replacement: variance n p (1 - p) each, 39 degrees of freedom, 5 standard deviations.
    statistic = float(((times - 500) ** 2).sum() / (draws * 0.25 * 0.75) * 39 / 40)
    assert 39 - 5 * np.sqrt(78) < statistic < 39 + 5 * np.sqrt(78)
    assert len(set(times)) > 5


@pytest.mark.parametrize("merged", [False, True])
def test_reservoir_fails_rather_than_err_when_copies_make_a_small_stratum_large(merged):
    # 300 strata, of which "0" is forgotten down to its small share; then 50,000 copies of its last content come.
    early = contents(200, b"0") + [(b"%d" % (1 + index % 299), b"%d" % index) for index in range(60_000)]
    last = max((content for _, content in contents(1000, prefix="late ")), key=lambda c: priority(c, salt_of(7)))
    late = [(b"0", last)] * 50_000
    reservoir = filled(early if merged else early + late, 500)
    if merged:
        reservoir.merge(filled(late, 500))
    with pytest.raises(
        DataError, match=r"identical contents.*found: 300 strata, 500 samples.*Remedy: remove the copies"
    ):
        reservoir.take()


def test_reservoir_forgets_what_another_forgot_when_merged_into_an_empty_one():
    early = contents(200, b"0") + [(b"%d" % (1 + index % 299), b"%d" % index) for index in range(60_000)]
    last = max((content for _, content in contents(1000, prefix="late ")), key=lambda c: priority(c, salt_of(7)))
    whole = Reservoir(500, "proportional", 7)
    for items in (early, [(b"0", last)] * 50_000):
        whole.merge(filled(items, 500))
    with pytest.raises(DataError, match="identical contents"):
        whole.take()


def test_reservoir_refuses_when_strata_are_too_many():
    with pytest.raises(DataError, match=r"too many values \(expected: at most 10,000 distinct values\).*sample unif"):
        filled([(b"%d" % index, b"x") for index in range(MAX_STRATA + 1)], 5).take()


def test_reservoir_refuses_when_strata_are_too_many_only_together():
    first = filled([(b"%d" % index, b"x") for index in range(MAX_STRATA)], 5)
    assert len(first.take()[0]) == 5
    first.merge(filled([(b"one more", b"x")], 5))
    with pytest.raises(DataError, match="too many values"):
        first.take()


def test_reservoir_is_empty_when_nothing_was_added():
    assert Reservoir(5, "balanced", 1).take() == ((), {})
