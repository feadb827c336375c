import numpy as np
import pytest
from scipy import stats

from components.evaluate.groups import MOST_PARTS, are_together, bit, count, group_numbers, together
from components.metrics.jackknife_error import standard_error
from components.metrics.ranks import exact_auc


def test_number_of_a_group_depends_on_its_value_alone():
    texts = group_numbers(np.array([b"clip 1", b"clip 2", b"clip 1"], object))
    assert texts[0] == texts[2] != texts[1]
    numbers = group_numbers(np.array([[7], [8], [7]]))
    assert numbers[0] == numbers[2] != numbers[1]


def test_many_groups_become_twenty_parts_whatever_the_order():
    numbers = group_numbers(np.arange(MOST_PARTS + 1))
    assert not are_together(numbers[:MOST_PARTS])
    assert are_together(numbers)
    assert are_together([numbers[0], together(numbers[1])])
    parts = {together(number) for number in group_numbers(np.arange(1000))}
    assert parts == set(range(-20, 0))
    assert {together(part) for part in parts} == parts


@pytest.mark.parametrize("groups", [65, 1000, 10_000])
def test_groups_are_counted_within_three_percent(groups):
    bits = 0
    for number in group_numbers(np.arange(groups)):
        bits |= bit(number)
    assert count(bits) == pytest.approx(groups, rel=0.03)


def test_interval_of_groups_covers_the_truth_where_that_of_examples_does_not():
    """300 clips of 10 frames, which are right or wrong mostly together."""
    random, covered = np.random.default_rng(6), {"groups": 0, "examples": 0}
    for _ in range(400):
        clip = random.random(300) < 0.8
        right = np.where(random.random((300, 10)) < 0.9, clip[:, None], random.random((300, 10)) < 0.8)
        for name, numbers in (
            ("groups", np.repeat(random.integers(20, size=300), 10)),
            ("examples", random.integers(20, size=3000)),
        ):
            sizes = np.bincount(numbers, minlength=20)
            deleted = (right.sum() - np.bincount(numbers, right.ravel(), 20)) / (3000 - sizes)
            covered[name] += abs(right.mean() - 0.8) <= 2.093 * standard_error(
                right.mean(), deleted, sizes, grouped=name == "groups"
            )
    assert 0.92 <= covered["groups"] / 400 <= 0.98
    assert covered["examples"] / 400 < 0.6


@pytest.mark.parametrize(("groups", "parts", "least"), [(40, 40, 0.91), (300, 20, 0.93)])
def test_interval_of_groups_of_very_unequal_sizes_covers_the_truth(groups, parts, least):
    """Groups have from 1 to about 80 examples, and their shares of right answers differ."""
    random, covered = np.random.default_rng(11), 0
    for _ in range(1000):
        sizes = np.ceil(random.lognormal(2, 1, groups))
        right = random.binomial(sizes.astype(int), random.beta(8, 2, groups))
        numbers = np.arange(groups) if groups == parts else random.integers(parts, size=groups)
        held, correct = np.bincount(numbers, sizes), np.bincount(numbers, right)
        estimate, deleted = right.sum() / sizes.sum(), (right.sum() - correct) / (sizes.sum() - held)
        error = standard_error(estimate, deleted, held.astype(int), grouped=True)
        covered += abs(estimate - 0.8) <= stats.t.ppf(0.975, parts - 1) * error
    assert least <= covered / 1000 <= 0.97


def test_interval_of_an_area_is_as_wide_as_a_bootstrap_over_clips():
    """250 sounds of 10 windows with scores that go together, 60 of them anomalous. The bootstrap is NumPy alone."""
    random, widths = np.random.default_rng(9), {"groups": [], "examples": [], "bootstrap": []}
    labels = np.repeat(np.arange(250) < 60, 10).astype(float)
    for _ in range(20):
        scores = np.repeat(random.normal(0, 1, 250), 10) + random.normal(0, 0.5, 2500) + 1.5 * labels
        for name, numbers in (
            ("groups", np.repeat(random.integers(20, size=250), 10)),
            ("examples", random.integers(20, size=2500)),
        ):
            deleted = [exact_auc(labels[numbers != part], scores[numbers != part]) for part in range(20)]
            sizes = np.bincount(numbers, minlength=20)
            error = standard_error(exact_auc(labels, scores), deleted, sizes, grouped=name == "groups")
            widths[name].append(2 * 2.093 * error)
        areas = []
        for _ in range(150):
            drawn = (random.integers(250, size=250)[:, None] * 10 + np.arange(10)).ravel()
            areas.append(exact_auc(labels[drawn], scores[drawn]))
        widths["bootstrap"].append(np.subtract(*np.quantile(areas, [0.975, 0.025])))
    groups, examples, bootstrap = (np.mean(each) for each in widths.values())
    assert 0.9 <= groups / bootstrap <= 1.25
    assert examples / bootstrap < 0.6
