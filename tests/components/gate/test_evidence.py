import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from components.gate.evidence import Jackknife, PairedCounts, Share, of_parts
from components.gate.holm import corrected
from components.gate.statistics.bounded import BoundedMean
from components.gate.statistics.bounded import p_value as p_of_mean
from components.gate.statistics.paired import p_value, p_value_of_harm, score
from components.gate.statistics.ratios import RatioChange, likely_ratios, of_samples
from components.metrics.jackknife_error import standard_error
from tests.samples import sample_of

COUNTS = [(0, 0, 30, 0.1), (1, 0, 30, 0.1), (2, 3, 30, 0.05), (5, 5, 60, 0.1), (10, 2, 40, 0.05), (3, 8, 30, 0.0)]


def outcomes(n):
    lost, gained = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = lost + gained <= n
    return lost[possible], gained[possible]


@pytest.mark.parametrize(("lost", "gained", "n", "margin"), [*COUNTS, (7, 4, 200, 0.02), (1, 9, 50, 0.3)])
def test_score_is_tangos_when_the_likelihood_is_maximized_numerically(lost, gained, n, margin):
    def unlikely(rate):
        rates = [rate + margin, rate, 1 - 2 * rate - margin]
        return -sum(
            count * math.log(p) for count, p in zip((lost, gained, n - lost - gained), rates, strict=True) if count
        )

    found = optimize.minimize_scalar(
        unlikely, bounds=(1e-12, (1 - margin) / 2 - 1e-12), method="bounded", options={"xatol": 1e-12}
    )
    variance = n * (2 * found.x + margin - margin**2)
    assert score(lost, gained, n, margin) == pytest.approx((gained - lost + n * margin) / math.sqrt(variance), rel=1e-4)


def test_score_is_mcnemars_when_the_margin_is_zero():
    assert score(12, 5, 100, 0.0) == pytest.approx((5 - 12) / math.sqrt(17))
    assert score(0, 0, 100, 0.0) == 0


@pytest.mark.parametrize(("lost", "gained", "n", "margin"), COUNTS)
def test_p_value_is_at_least_the_greatest_probability_in_the_searched_interval(lost, gained, n, margin):
    """Every outcome is enumerated with SciPy's multinomial distribution."""
    all_lost, all_gained = outcomes(n)
    scores, own = score(all_lost, all_gained, n, margin), score(lost, gained, n, margin)
    interval = stats.binomtest(gained, n).proportion_ci(1 - 1e-6)
    rates = np.linspace(min(interval.low, (1 - margin) / 2), min(interval.high, (1 - margin) / 2), 150)
    for found, as_good in ((p_value, scores >= own - 1e-9), (p_value_of_harm, scores <= own + 1e-9)):
        counts = np.stack([all_lost, all_gained, n - all_lost - all_gained], axis=1)[as_good]
        greatest = max(
            stats.multinomial(n, [rate + margin, rate, max(0.0, 1 - 2 * rate - margin)]).pmf(counts).sum()
            for rate in rates
        )
        assert found(lost, gained, n, margin) == pytest.approx(min(1.0, greatest + 1e-6), abs=2e-5)


@pytest.mark.parametrize(
    ("lost", "gained", "n", "margin", "better"),
    [(25, 14, 40, 0.01, False), (0, 4, 25, 0.0, True), (5, 12, 40, 0.01, True), (7, 5, 40, 0.01, True)],
)
def test_p_value_is_the_greatest_probability_where_there_are_several_maxima(lost, gained, n, margin, better):
    """The greatest is where almost every example flips, and beside others that are nearly as high."""
    all_lost, all_gained = outcomes(n)
    scores, own = score(all_lost, all_gained, n, margin), score(lost, gained, n, margin)
    chosen = scores >= own - 1e-9 if better else scores <= own + 1e-9
    counts = np.stack([all_lost, all_gained, n - all_lost - all_gained], axis=1)[chosen]
    interval = stats.binomtest(gained, n).proportion_ci(1 - 1e-6)
    rates = np.linspace(min(interval.low, (1 - margin) / 2), min(interval.high, (1 - margin) / 2), 2000)
    greatest = max(
        stats.multinomial(n, [rate + margin, rate, max(0.0, 1 - 2 * rate - margin)]).pmf(counts).sum() for rate in rates
    )
    found = (p_value if better else p_value_of_harm)(lost, gained, n, margin)
    assert greatest - 1e-7 <= found <= greatest + 1e-4


@pytest.mark.parametrize(("n", "margin"), [(15, 0.1), (40, 0.05), (60, 0.0), (60, 0.2)])
def test_exact_test_errs_at_most_at_alpha_when_every_outcome_is_enumerated(n, margin):
    lost, gained = outcomes(n)
    p = np.array([p_value(int(a), int(b), n, margin) for a, b in zip(lost, gained, strict=True)])
    counts = np.stack([lost, gained, n - lost - gained], axis=1)
    for rate in np.linspace(0, (1 - margin) / 2, 40):
        probabilities = stats.multinomial(n, [rate + margin, rate, max(0.0, 1 - 2 * rate - margin)]).pmf(counts)
        for alpha in (0.01, 0.05, 0.2):
            assert probabilities[p <= alpha].sum() <= alpha + 1e-5


def test_p_value_nears_tangos_approximation_when_there_are_many_examples():
    for lost, gained, n in ((120, 100, 1000), (1000, 950, 10_000), (9000, 9000, 100_000)):
        approximate = stats.norm.sf(score(lost, gained, n, 0.012))
        assert p_value(lost, gained, n, 0.012) == pytest.approx(approximate, rel=0.1, abs=2e-6)


@pytest.mark.parametrize(("right", "n", "bound"), [(85, 100, 0.8), (30, 30, 0.9), (0, 30, 0.5), (450, 500, 0.92)])
def test_share_is_scipys_binomial_test(right, n, bound):
    for sign, above, below in ((1, "greater", "less"), (-1, "less", "greater")):
        share = Share(right, n, bound, sign)
        assert share.p == pytest.approx(stats.binomtest(right, n, bound, above).pvalue, abs=1e-12)
        assert share.p_of_harm == pytest.approx(stats.binomtest(right, n, bound, below).pvalue, abs=1e-12)


def test_jackknife_is_a_t_test_when_one_example_matters_little():
    values = np.random.default_rng(5).normal(-0.1, 1, size=(20, 50))
    deleted = [np.delete(values, part, axis=0).mean() for part in range(20)]
    found = of_parts(values.mean() + 0.2, values.mean(), deleted, [50] * 20, 1, span=1e-9)
    means = values.mean(axis=1)
    # The worst part bounds what one error can do, unless the span does.
    assert found.worst == pytest.approx(50 * (means.mean() - means.min()), rel=1e-9)
    assert of_parts(0.2, values.mean(), deleted, [50] * 20, 1, span=9.0).worst == 90
    alone = replace(found, worst=0.0, best=0.0)
    assert alone.p == pytest.approx(stats.ttest_1samp(means, -0.2, alternative="greater").pvalue, rel=1e-6)
    assert alone.p_of_harm == pytest.approx(stats.ttest_1samp(means, -0.2, alternative="less").pvalue, rel=1e-6)
    assert alone.p < found.p < 0.5


def test_equal_outputs_pass_only_if_a_rare_error_would_have_been_seen():
    """No change on n examples: with an error rate of the margin, that has a probability of (1 - margin) ** n."""
    for n in (100, 200, 400):
        paired, bounded = (
            PairedCounts(0, 0, n, 0.01),
            of_samples(sample_of([1.0] * n), sample_of([1.0] * n), -0.01, 1, n),
        )
        # More gains than losses are as good an outcome, so the p-value is a little higher.
        assert 0.99**n <= paired.p <= 1.2 * 0.99**n
        assert bounded.p == pytest.approx(0.99**n, rel=1e-6)
        assert (paired.p <= 0.05) == (bounded.p <= 0.05) == (n >= 299)


def test_numbers_of_examples_that_are_named_pass_in_four_of_five_evaluations():
    """Evaluations of that size are drawn from the measured rates."""
    random, level = np.random.default_rng(7), 0.05
    for lost, gained, n, margin in ((3, 1, 100, 0.05), (40, 38, 1000, 0.01)):
        enough = PairedCounts(lost, gained, n, margin).enough(level)
        drawn = random.multinomial(enough, [lost / n, gained / n, 1 - (lost + gained) / n], size=400)
        passing = np.mean([p_value(int(a), int(b), enough, margin) <= level for a, b, _ in drawn])
        assert 0.74 <= passing <= 0.93, (lost, gained, passing)
    assert PairedCounts(0, 0, 50, 0.01).enough(level) in range(299, 315)
    enough = Share(88, 100, 0.85, 1).enough(level)
    passing = np.mean(
        [stats.binomtest(int(k), enough, 0.85, "greater").pvalue <= level for k in random.binomial(enough, 0.88, 400)]
    )
    assert 0.74 <= passing <= 0.88
    changes = random.normal(-0.01, 0.1, 100)
    samples = sample_of(0.5 + changes), sample_of([0.5] * 100)
    enough = of_samples(*samples, -0.03, 1, 100).enough(level)
    passing = np.mean(
        [
            of_samples(sample_of(0.5 + random.choice(changes, enough)), sample_of([0.5] * enough), -0.03, 1, enough).p
            <= level
            for _ in range(400)
        ]
    )
    assert 0.72 <= passing <= 0.88
    few = Jackknife(0.03, 0.02, 20, 2000, 1.0, 1.0)
    enough = few.enough(level)
    estimates = random.normal(0.03, 0.02 * np.sqrt(2000 / enough), 400)
    passing = np.mean(
        [Jackknife(gap, 0.02 * np.sqrt(2000 / enough), 20, enough, 1.0, 1.0).p <= level for gap in estimates]
    )
    assert 0.74 <= passing <= 0.88


def test_no_number_of_examples_is_enough_when_the_estimate_is_beyond_the_bound():
    assert PairedCounts(10, 2, 100, 0.05).enough(0.05) is None
    assert PairedCounts(0, 0, 100, 0.0).enough(0.05) is None
    assert Share(80, 100, 0.85, 1).enough(0.05) is None
    assert Jackknife(-0.01, 0.05, 20, 100, 1.0, 1.0).enough(0.05) is None
    assert of_samples(sample_of([0.4] * 50), sample_of([0.5] * 50), -0.05, 1, 50).enough(0.05) is None


def test_function_is_not_tested_when_it_has_few_examples_or_groups():
    values = list(np.linspace(0.4, 0.6, 20))
    found = of_parts(0.1, 0.5, values, [40] * 20, 1, 1.0)
    assert found == "fewer than 1,000, the minimum for a metric that is neither a mean nor a ratio of sums"
    found = of_parts(0.1, 0.5, values, [500] * 20, 1, 1.0, groups=200)
    assert found.startswith("they provide as much evidence as 200 groups of equal size")


def test_error_of_groups_is_that_of_groups():
    values, sizes = list(np.linspace(0.4, 0.6, 20)), list(range(405, 605, 10))
    for groups in (None, 5000):
        error = of_parts(0.1, 0.5, values, sizes, 1, 1.0, groups).error
        assert error == standard_error(0.5, values, sizes, grouped=groups is not None)
    assert standard_error(0.5, values, sizes, grouped=True) != pytest.approx(
        standard_error(0.5, values, sizes), rel=0.01
    )


@pytest.mark.parametrize(("losses", "n", "margin"), [(0, 300, 0.01), (3, 200, 0.05), (1, 30, 0.2), (60, 5000, 0.02)])
def test_bounded_mean_is_the_binomial_test_when_values_are_zero_or_one(losses, n, margin):
    sample = sample_of([1.0] * (n - losses) + [0.0] * losses)
    found = of_samples(sample, None, 1 - margin, 1, n)
    assert found.p == pytest.approx(stats.binom.cdf(losses, n, margin), rel=1e-6)
    assert found.p_of_harm == pytest.approx(stats.binom.sf(losses - 1, n, margin), rel=1e-6)
    # An error that must be at most the bound.
    mirrored = of_samples(sample_of([0.0] * (n - losses) + [1.0] * losses), None, margin, -1, n)
    assert mirrored.p == pytest.approx(found.p, rel=1e-6)
    assert mirrored.p_of_harm == pytest.approx(found.p_of_harm, rel=1e-6)


@pytest.mark.parametrize("margin", [0.001, 0.005, 0.02, 0.06, 0.3])
@pytest.mark.parametrize("n", [1, 10, 60, 198, 466, 1600])
def test_without_any_change_units_of_equal_sizes_say_what_the_binomial_test_says(n, margin):
    assert p_of_mean(np.full(n, margin), [margin - 1]) == pytest.approx((1 - margin) ** n, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("spread", [0.3, 0.6, 1.0, 1.5])
def test_without_any_change_no_test_can_say_much_more_than_that_of_groups_of_unequal_sizes(spread):
    """If only groups of the largest size were harmed, so many groups would all be sound with the greater probability.

    So a test that allows for this can't have a smaller p-value. The largest group of the sample is among them.
    """
    random = np.random.default_rng(15)
    for groups in (20, 100, 194, 400, 861, 1600):
        sizes = np.ceil(random.lognormal(2, spread, groups))
        for margin in (0.005, 0.02, 0.06, 0.1):
            sound = groups * np.log1p(-margin * sizes.mean() / sizes.max())
            measured = np.log(p_of_mean(margin * sizes, [(margin - 1) * sizes.max()]))
            assert 1.12 * sound <= measured <= 0.999 * sound


@pytest.mark.parametrize("n", [20, 300, 3000])
def test_bounded_mean_is_the_probability_under_random_weights(n):
    random = np.random.default_rng(8)
    values = random.choice([-0.2, 0.0, 0.1, 0.4], n, p=[0.1, 0.6, 0.2, 0.1]) + random.normal(0, 0.05, n)
    values += 1.2 * values.std() / np.sqrt(n) - values.mean()
    weights = random.exponential(size=(10_000, n + 2))
    drawn = (weights @ np.append(values, [-0.7, -0.3]) <= 0).mean()
    assert p_of_mean(values, [-0.7, -0.3]) == pytest.approx(drawn, abs=4 * np.sqrt(drawn * (1 - drawn) / 10_000))


def test_samples_are_refused_when_they_do_not_fit_together():
    sample = sample_of([0.5] * 9)
    assert "have different units" in of_samples(sample, sample_of([0.5] * 8), 0.0, 1, 9)
    assert "divides by zero" in of_samples(sample, sample_of([0.0] * 9, [0.0] * 9), 0.0, 1, 9)
    outside = sample.model_copy(update={"outside": 2})
    assert "2 examples or groups have values outside its `range`" in of_samples(outside, sample, 0.0, 1, 9)


def test_change_of_a_ratio_is_that_of_a_mean_when_the_sums_to_divide_by_are_almost_equal():
    """A millionth more in one denominator makes it a change of ratios, whose unknown ratio then hardly matters."""
    random = np.random.default_rng(9)
    candidate, baseline = (random.random(200) < share for share in (0.9, 0.92))
    near = np.append(np.ones(199), 1.0001)
    for bound, sign in ((-0.08, 1), (0.03, -1), (0.001, -1)):
        exact = of_samples(sample_of(candidate), sample_of(baseline), bound, sign, 200)
        changed = of_samples(sample_of(candidate * near, near), sample_of(baseline), bound, sign, 200)
        assert isinstance(exact, BoundedMean) and isinstance(changed, RatioChange)
        assert changed.p == pytest.approx(exact.p, abs=2e-3)
        assert changed.p_of_harm == pytest.approx(exact.p_of_harm, abs=2e-3)
        assert exact.p <= changed.p
        assert (changed.enough(0.05) is None) == (exact.enough(0.05) is None)


def test_interval_of_a_ratio_contains_it_and_ends_where_the_test_of_the_ratio_does():
    random = np.random.default_rng(10)
    denominators = (random.random(400) < 0.2).astype(float)
    sample = sample_of(denominators * (random.random(400) < 0.8), denominators)
    low, high = likely_ratios(sample)
    assert 0 < low < 0.8 < high < 1
    numerators, _ = sample.terms
    assert p_of_mean(numerators - low * denominators, [-low]) <= 5e-5
    assert p_of_mean(high * denominators - numerators, [high - 1]) <= 5e-5
    low, high = likely_ratios(sample_of([1.0] * 5))
    assert low**5 <= 5e-5 and low < 0.15 and high == 1


def test_correction_is_holms_when_all_hypotheses_are_tested_by_closure():
    random = np.random.default_rng(3)
    for _ in range(50):
        p = random.random(4) ** 3
        expected = [
            max(
                min(1.0, len(group) * min(p[each] for each in group))
                for size in range(1, 5)
                for group in itertools.combinations(range(4), size)
                if index in group
            )
            for index in range(4)
        ]
        assert corrected(list(p)) == pytest.approx(expected, abs=1e-12)
