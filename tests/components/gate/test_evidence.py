import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from components.gate.evidence import Jackknife, PairedCounts, Share, of_parts
from components.gate.holm import corrected
from components.gate.paired import p_value, p_value_of_harm, score

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
    assert found.p == pytest.approx(stats.ttest_1samp(means, -0.2, alternative="greater").pvalue, rel=1e-6)
    assert found.p_of_harm == pytest.approx(stats.ttest_1samp(means, -0.2, alternative="less").pvalue, rel=1e-6)
    # Without a known span, the worst part bounds what one error can do.
    unknown = of_parts(values.mean() + 0.2, values.mean(), deleted, [50] * 20, 1, span=None)
    assert unknown.worst == pytest.approx(50 * (means.mean() - means.min()), rel=1e-9)
    assert found.p < unknown.p < 0.5


def test_equal_outputs_pass_only_if_a_rare_error_would_have_been_seen():
    """No change on n examples: with an error rate of the margin, that has a probability of (1 - margin) ** n."""
    for n in (100, 200, 400):
        paired, resampled = PairedCounts(0, 0, n, 0.01), Jackknife(0.01, 0.0, 20, n, 1.0, 1.0, grows=False)
        # More gains than losses are as good an outcome, so the p-value is a little higher.
        assert 0.99**n <= paired.p <= 1.2 * 0.99**n
        assert (paired.p <= 0.05) == (resampled.p <= 0.05) == (n >= 299)


def test_enough_examples_are_enough_when_the_rates_stay():
    for lost, gained, n, margin in ((3, 1, 100, 0.05), (0, 0, 50, 0.01), (40, 38, 1000, 0.01)):
        evidence = PairedCounts(lost, gained, n, margin)
        enough = evidence.enough(0.05)
        assert evidence.p > 0.05
        times = enough / n
        assert p_value(math.ceil(lost * times), math.floor(gained * times), enough, margin) <= 0.065
        fewer = int(enough / 1.6)
        assert p_value(round(lost * fewer / n), round(gained * fewer / n), fewer, margin) > 0.05
    share = Share(88, 100, 0.85, 1)
    assert stats.binomtest(math.floor(0.88 * share.enough(0.05)), share.enough(0.05), 0.85, "greater").pvalue <= 0.05
    for grows in (False, True):
        few = Jackknife(0.02, 0.05, 20, 400, 1.0, 1.0, grows)
        enough = few.enough(0.05)
        times = enough / 400
        worst = math.sqrt(times) if grows else 1.0
        assert Jackknife(0.02, 0.05 / math.sqrt(times), 20, enough, worst, 1.0, grows).p == pytest.approx(
            0.05, rel=0.01
        )


def test_no_number_of_examples_is_enough_when_the_estimate_is_beyond_the_bound():
    assert PairedCounts(10, 2, 100, 0.05).enough(0.05) is None
    assert PairedCounts(0, 0, 100, 0.0).enough(0.05) is None
    assert Share(80, 100, 0.85, 1).enough(0.05) is None
    assert Jackknife(-0.01, 0.05, 20, 100, 1.0, 1.0, grows=False).enough(0.05) is None


def test_metric_without_a_span_is_not_tested_when_it_says_too_little():
    sizes = [10] * 20
    few_changes = [0.5, 0.51, 0.49] + [0.5] * 17
    assert of_parts(0.1, 0.5, few_changes, sizes, 1, None) == "only 2 of 20 parts of the examples change the metric"
    few_examples = of_parts(0.1, 0.5, list(np.linspace(0.4, 0.6, 20)), [4] * 20, 1, None)
    assert few_examples == "fewer than 100, which a metric needs that is not a mean between two bounds"


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
