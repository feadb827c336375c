import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from components.evaluate.exact_auc import Scores
from components.evaluate.outputs.area import area_sample
from components.evaluate.outputs.units import FOLDED_UNITS, MOST_UNITS, Terms, Units, sample
from components.metrics.ranks import area_terms, macro_auc


def test_units_are_added_up_by_number():
    units, other = Units(), Units()
    units.add(np.array([7, 3, 7]), np.array([[1.0, 2], [3, 4], [5, 6]]))
    other.add(np.array([9, 3]), np.array([[10.0, 20], [30, 40]]))
    units.merge(other)
    units.settle()
    assert units.keys.tolist() == [3, 7, 9]
    assert units.sums.tolist() == [[33, 44], [6, 8], [10, 20]]
    assert other.settle().sums.tolist() == [[30, 40], [10, 20]]


def test_many_units_are_put_together_whatever_the_order():
    random = np.random.default_rng(1)
    keys, rows = random.integers(1 << 32, size=60_000), random.normal(size=(60_000, 1))
    whole, parts = Units(), Units()
    whole.add(keys, rows)
    for order in np.array_split(random.permutation(60_000), 70):
        part = Units()
        part.add(keys[order], rows[order])
        parts.merge(part)
    for units in (whole, parts):
        units.settle()
        assert units.folded
        assert units.keys.tolist() == list(range(FOLDED_UNITS))
    np.testing.assert_allclose(whole.sums, parts.sums, atol=1e-9)
    few = Units()
    few.add(np.arange(MOST_UNITS), np.ones((MOST_UNITS, 1)))
    assert not few.settle().folded


def test_samples_have_the_sums_of_means_and_of_ratios():
    terms = Terms(("base", "mine"), ("accuracy",), ("steps", "open"), {"accuracy": (0.0, 1.0), "steps": (0.0, 1.0)})
    means = np.array([[1.0, 0.0, 1.0], [2.0, 2.0, 2.0]])
    steps = [np.array([[3.0, 4.0], [2.0, 5.0]]), np.array([[1.0, 4.0], [9.0, 5.0]])]
    units = Units()
    units.add(np.array([1, 2]), terms.of(means, [steps, steps]))
    found = {(model, metric): one for model, metric, one in terms.samples(units)}
    assert found.keys() == {(model, metric) for model in ("base", "mine") for metric in ("accuracy", "steps")}
    expected = {
        ("base", "accuracy"): ([1, 2], [1, 2], 0),
        ("mine", "accuracy"): ([0, 2], [1, 2], 0),
        ("base", "steps"): ([3, 2], [4, 5], 0),
        # Nine of five steps are outside the range.
        ("mine", "steps"): ([1, 9], [4, 5], 1),
    }
    for key, (numerators, denominators, outside) in expected.items():
        assert [each.tolist() for each in found[key].terms] == [numerators, denominators]
        assert (found[key].outside, found[key].largest) == (outside, (max(denominators),))
    assert list(terms.samples(Units())) == []


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_terms_of_an_area_add_up_to_it(outputs, weighted):
    random = np.random.default_rng(2)
    labels = random.integers(max(2, outputs), size=300)
    scores = np.round(random.normal(size=(300, outputs)) + (labels[:, None] == np.arange(outputs)) * (outputs > 1), 1)
    weights = random.integers(1, 4, 300).astype(float) if weighted else None
    terms = area_terms(labels, scores, weights)
    assert terms.numerators.sum() == pytest.approx(macro_auc(labels, scores, weights))
    assert terms.denominators.sum() == pytest.approx(1)
    assert (terms.numerators >= terms.least * terms.denominators - 1e-12).all()
    assert (terms.numerators <= terms.greatest * terms.denominators + 1e-12).all()
    # Leaving out an example changes the area by what the projection says, up to what pairs of examples add.
    for row in range(0, 300, 30):
        kept = np.arange(300) != row
        without = macro_auc(labels[kept], scores[kept], None if weights is None else weights[kept])
        area = macro_auc(labels, scores, weights)
        projected = terms.numerators[row] - area * terms.denominators[row]
        assert without == pytest.approx(area - projected, abs=0.15 * abs(projected) + 1e-4)


def test_terms_of_an_area_are_missing_when_it_has_none():
    assert area_terms(np.zeros(4), np.arange(4.0)) is None
    assert area_terms(np.array([0.5, 1, 0]), np.arange(3.0)) is None


def test_sample_of_an_area_has_the_largest_share_of_each_class_or_of_a_group():
    labels, scores = np.array([1.0, 1, 0, 0, 0, 0]), np.array([0.9, 0.2, 0.1, 0.3, 0.4, 0.0])
    kept = Scores(*(memoryview(each.astype(np.float64)) for each in (labels, scores, np.zeros(0))), 1)
    alone = area_sample(kept, np.arange(6), grouped=False)
    assert sum(alone.terms[0]) == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert alone.largest == pytest.approx((1 / 4, 1 / 8))
    grouped = area_sample(kept, np.array([5, 6, 6, 7, 7, 7]), grouped=True)
    assert grouped.largest == pytest.approx((3 / 8,))
    assert len(grouped.terms[0]) == 3
    assert sum(grouped.terms[0]) == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    # An example with two rows of scores.
    assert area_sample(kept, np.arange(3), grouped=False) is None


def test_values_outside_the_range_are_counted():
    found = sample(np.array([0.5, 1.2, -0.1, 2.0]), np.array([1.0, 1.0, 1.0, 2.0]), 0.0, 1.0)
    assert found.outside == 2
