"""How often the gate blesses a candidate that breaks a bound, and how often one that doesn't, with `decide_on: test`.

Each case draws 2,000 evaluations from a known truth and decides each of them. Where a bound is broken, it is broken by
as little as possible: the true change is the margin. The measured rates are properties of the test report.
"""

import numpy as np
import pytest

from components.facts.decision import Check
from components.facts.evaluation import CandidateReport, EvaluationReport, Flips, MetricValue, SliceResult
from components.gate.evidence import PairedCounts
from components.gate.holm import judged
from components.gate.policy import decide
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec

EVALUATIONS, ALPHA = 2000, 0.05
# Three standard errors of a rate of 5 % over 2,000 evaluations.
MOST = ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / EVALUATIONS)
PHONE = DeviceProfile(name="phone", device_class="phone", description="any", schemes=("static_wi8_ai8",))
OUTCOME = {
    "status": "converted",
    "inspection": {
        **{"file_bytes": 1000, "weight_bytes": 500, "operators": [], "dtype_counts": {}, "inputs": [], "outputs": []},
        **{"weights": [], "float_tensors": [], "stateful": False},
    },
    "seconds": 1.0,
    "peak_memory_bytes": 1,
}


def policy(margin, slices=("overall",), field="max_drop_from_baseline", **changes):
    bound = {"name": "metric", "slices": slices, field: margin}
    return GateSpec.model_validate({"metrics": [bound], "decide_on": "test", "alpha": ALPHA, **changes})


def blessed(baseline, candidates, gate, spans=()):
    """Whether the gate blesses any candidate; each is a list of slices."""
    reports = tuple(
        CandidateReport.model_validate(
            {
                "recipe": {"name": f"c{index}", "scheme": "static_wi8_ai8"},
                "outcome": OUTCOME,
                "sha256": "digest",
                "slices": slices,
            }
        )
        for index, slices in enumerate(candidates)
    )
    report = EvaluationReport(baseline_slices=baseline, baseline_bytes=4000, candidates=reports, spans=dict(spans))
    return decide(report, PHONE, gate, less_is_better=False).chosen is not None


def answers(examples, lost, gained, name="overall"):
    """Slices of the baseline and of a candidate with so many flips."""
    base, value = 0.9, 0.9 + (gained - lost) / examples
    return (
        SliceResult(slice=name, examples=examples, metrics={"metric": MetricValue(value=base)}),
        SliceResult(
            slice=name,
            examples=examples,
            metrics={"metric": MetricValue(value=value)},
            change={"metric": MetricValue(value=value - base)},
            flips={"metric": Flips(lost=lost, gained=gained)},
        ),
    )


def rate_of(random, sizes, losses, gains, gate, candidates=1):
    """The share of evaluations with a blessing. `sizes`, `losses`, and `gains` (rates) have an entry for each slice."""
    drawn = [
        random.multinomial(size, [loss, gain, 1 - loss - gain], size=(EVALUATIONS, candidates))
        for size, loss, gain in zip(sizes, losses, gains, strict=True)
    ]
    names = ["overall", *(f"label={index}" for index in range(len(sizes) - 1))]
    count = 0
    for evaluation in range(EVALUATIONS):
        pairs = [
            [
                answers(size, *map(int, counts[evaluation, candidate, :2]), name)
                for size, counts, name in zip(sizes, drawn, names, strict=True)
            ]
            for candidate in range(candidates)
        ]
        baseline = tuple(base for base, _ in pairs[0])
        count += blessed(baseline, [tuple(mine for _, mine in each) for each in pairs], gate)
    return count / EVALUATIONS


EVERY = ("overall", "label")
# Name -> sizes of the slices, margin, rates of losses and gains that break the bound, rates that keep it, least power.
RIGHT_OR_WRONG = {
    "strong pairing": ([1000], 0.02, [0.021], [0.001], [0.002], [0.002], 0.95),
    "many ties": ([2000], 0.02, [0.02], [0.0], [0.001], [0.001], 0.95),
    "weak pairing": ([300], 0.08, [0.18], [0.10], [0.10], [0.10], 0.80),
    "tiny slice": ([300, 40], 0.08, [0.02, 0.08], [0.02, 0.0], [0.01, 0.0], [0.01, 0.0], 0.45),
    "rare class of 3 %": ([1000, 970, 30], 0.1, [0.02, 0.01, 0.11], [0.02, 0.01, 0.01], [0.01] * 3, [0.01] * 3, 0.50),
    "five slices at the margin": ([1500] + [300] * 5, 0.05, [0.06] * 6, [0.01] * 6, [0.002] * 6, [0.002] * 6, 0.9),
    "one slice of five at the margin": (
        [1500] + [300] * 5,
        0.05,
        [0.002] * 5 + [0.06],
        [0.002] * 5 + [0.01],
        [0.002] * 6,
        [0.002] * 6,
        0.9,
    ),
}


@pytest.mark.parametrize("case", RIGHT_OR_WRONG)
def test_false_blessings_of_right_or_wrong_metrics_are_at_most_alpha(case, record_property):
    sizes, margin, losses, gains, harmless_losses, harmless_gains, least_power = RIGHT_OR_WRONG[case]
    random = np.random.default_rng(11)
    gate = policy(margin, EVERY if len(sizes) > 1 else ("overall",))
    false = rate_of(random, sizes, losses, gains, gate)
    power = rate_of(random, sizes, harmless_losses, harmless_gains, gate)
    record_property("false blessings", false)
    record_property("power", power)
    print(f"{case}: false blessings {false:.4f}, power {power:.4f}")
    assert false <= MOST
    assert power >= least_power


def test_false_blessings_are_at_most_alpha_when_there_are_five_candidates(record_property):
    """Each alone has a chance of almost alpha, so without a correction, one of five passes at a rate near 20 %."""
    random = np.random.default_rng(12)
    false = rate_of(random, [1000], [0.03], [0.01], policy(0.02), candidates=5)
    alone = rate_of(random, [1000], [0.03], [0.01], policy(0.02))
    power = rate_of(random, [1000], [0.005], [0.005], policy(0.02), candidates=5)
    for name, value in (("false blessings", false), ("false blessings of one", alone), ("power", power)):
        record_property(name, value)
    print(f"five candidates: false blessings {false:.4f}, of one {alone:.4f}, power {power:.4f}")
    assert false <= MOST
    assert alone >= 0.03
    assert power >= 0.9


def test_harm_in_a_slice_of_three_percent_is_blocked_when_the_whole_split_looks_fine(record_property):
    """Of 3,000 examples, 90 lose 20 points; the split as a whole loses 0.6, well within its margin of 2."""
    random = np.random.default_rng(13)
    false = rate_of(random, [3000, 2910, 90], [0.011, 0.005, 0.205], [0.005] * 3, policy(0.1, EVERY))
    unseen = rate_of(random, [3000, 2910, 90], [0.011, 0.005, 0.205], [0.005] * 3, policy(0.02))
    record_property("blessed with slices", false)
    record_property("blessed without slices", unseen)
    print(f"3 % slice: blessed with slices {false:.4f}, without {unseen:.4f}")
    assert false <= 0.001
    assert unseen >= 0.99


# Flips of examples that belong to a label and to an age, [labels, ages]; each bound is on all of both.
LABELS, AGES, IN_CELL, CROSSED_MARGIN = 4, 3, 100, 0.06


def crossed(random, rates, candidates):
    """Whether `judged` lets any candidate pass, for 2,000 evaluations with overlapping slices.

    `rates` has losses and gains of each candidate in each cell, [candidates, labels, ages, 2]. All candidates lose
    half of their examples together, as candidates of one model do.
    """
    rates = np.broadcast_to(rates, (candidates, LABELS, AGES, 2))
    shared = random.binomial(IN_CELL, rates[..., 0].min(axis=0) / 2, size=(EVALUATIONS, LABELS, AGES))
    own = rates[..., 0] - rates[..., 0].min(axis=0) / 2
    lost = shared[:, None] + random.binomial(IN_CELL, own, size=(EVALUATIONS, *own.shape))
    gained = random.binomial(IN_CELL, rates[..., 1], size=(EVALUATIONS, *own.shape))

    def slices(flips):
        return np.concatenate([flips.sum((2, 3))[..., None], flips.sum(3), flips.sum(2)], axis=-1)

    lost, gained = slices(lost), slices(gained)
    sizes = IN_CELL * np.array([LABELS * AGES, *[AGES] * LABELS, *[LABELS] * AGES])
    check = Check(
        quantity="accuracy", scope="slice", op="drop_at_most", bound=CROSSED_MARGIN, measured=None, verdict="pass"
    )
    passed = 0
    for evaluation in range(EVALUATIONS):
        tested = [
            [
                (check, PairedCounts(int(a), int(b), int(n), CROSSED_MARGIN))
                for a, b, n in zip(lost[evaluation, one], gained[evaluation, one], sizes, strict=True)
            ]
            for one in range(candidates)
        ]
        verdicts = judged(tested, [True] * candidates, ALPHA)
        passed += any(all(each.verdict == "pass" for each in checks) for checks in verdicts)
    return passed / EVALUATIONS


def test_false_blessings_are_at_most_alpha_over_overlapping_slices_and_candidates_together(record_property):
    """One candidate breaks the bound of an age, the other that of a label, each as little as possible."""
    random = np.random.default_rng(18)
    rates = np.full((2, LABELS, AGES, 2), (0.012, 0.012))
    rates[0, :, 0, 0] += CROSSED_MARGIN
    rates[1, 2, :, 0] += CROSSED_MARGIN
    false = crossed(random, rates, 2)
    alone = crossed(random, rates[:1], 1)
    power = crossed(random, (0.004, 0.004), 2)
    for name, value in (("false blessings", false), ("false blessings of one", alone), ("power", power)):
        record_property(name, value)
    print(f"overlapping slices, two candidates: false blessings {false:.4f}, of one {alone:.4f}, power {power:.4f}")
    assert false <= MOST
    assert alone >= 0.02
    assert power >= 0.9


def test_harm_in_a_slice_of_three_percent_is_blocked_among_ten_slices_and_three_candidates(record_property):
    random = np.random.default_rng(19)
    sizes = [3000, 90] + [290] * 9 + [300]
    losses = [0.009, 0.205] + [0.003] * 10
    false = rate_of(random, sizes, losses, [0.003] * 12, policy(0.1, EVERY), candidates=3)
    record_property("blessed", false)
    print(f"3 % slice among ten, three candidates: blessed {false:.4f}")
    assert false <= 0.001


PARTS = 20


def resampled(examples, estimates, deleted, sizes):
    """Slices of a baseline of zero and of a candidate, so that the value is the change."""
    zero = MetricValue(value=0.0)
    parts = tuple(int(size) for size in sizes)
    base = SliceResult(
        slice="overall",
        examples=examples,
        metrics={"metric": zero},
        parts=parts,
        without={"metric": (0.0,) * len(parts)},
    )
    change = MetricValue(value=float(estimates))
    mine = base.model_copy(
        update={"metrics": {"metric": change}, "change": {"metric": change}, "without": {"metric": tuple(deleted)}}
    )
    return (base,), [(mine,)]


def rate_of_means(random, draw, examples, gate, spans):
    count = 0
    for _ in range(EVALUATIONS):
        values, numbers = draw(random, examples), random.integers(PARTS, size=examples)
        sizes, sums = np.bincount(numbers), np.bincount(numbers, values)
        sizes, sums = sizes[sizes > 0], sums[sizes > 0]
        deleted = (values.sum() - sums) / (examples - sizes)
        count += blessed(*resampled(examples, values.mean(), deleted.tolist(), sizes), gate, spans)
    return count / EVALUATIONS


MARGIN = 0.02
# Changes per example with a mean of `mean`: small and even; most of them zero; rare and half or wholly wrong; skewed.
CHANGES = {
    "normal": lambda random, n, mean: random.normal(mean, 0.1, n),
    "many ties": lambda random, n, mean: np.where(random.random(n) < 0.1, random.normal(10 * mean, 0.2, n), 0.0),
    "rare, half wrong": lambda random, n, mean: np.where(random.random(n) < -2 * mean, -0.5, 0.0),
    "rare, wholly wrong": lambda random, n, mean: (
        np.where(random.random(n) < -mean, -1.0, 0.0) + random.normal(0, 0.001, n)
    ),
    "skewed": lambda random, n, mean: mean - (random.lognormal(0, 1, n) - np.exp(0.5)) * 0.05,
}


@pytest.mark.parametrize("examples", [40, 200, 1000])
@pytest.mark.parametrize("kind", CHANGES)
def test_false_blessings_of_bounded_means_are_at_most_alpha(kind, examples, record_property):
    random, draw = np.random.default_rng(14), CHANGES[kind]
    spans = {"metric": 1.0}
    false = rate_of_means(random, lambda r, n: draw(r, n, -MARGIN), examples, policy(MARGIN), spans)
    power = rate_of_means(random, lambda r, n: draw(r, n, 0.0), examples, policy(MARGIN), spans)
    record_property("false blessings", false)
    record_property("power", power)
    print(f"{kind}, {examples} examples: false blessings {false:.4f}, power {power:.4f}")
    assert false <= MOST
    assert power >= {40: 0.0, 200: 0.25, 1000: 0.95}[examples]


@pytest.mark.parametrize("kind", ["normal", "skewed", "many ties"])
def test_false_blessings_of_errors_without_limit_are_at_most_alpha(kind, record_property):
    """An error that must not rise, such as a cross entropy: no value is the greatest."""
    random, draw = np.random.default_rng(15), CHANGES[kind]
    gate = policy(MARGIN, field="max_rise_from_baseline")
    rates = {}
    for name, mean in (("false blessings", -MARGIN), ("power", 0.0)):
        rates[name] = rate_of_means(random, lambda r, n, mean=mean: -draw(r, n, mean), 400, gate, {})
        record_property(name, rates[name])
    print(f"{kind}, errors: {rates}")
    assert rates["false blessings"] <= MOST
    assert rates["power"] >= 0.7


def test_false_blessings_of_an_auc_are_at_most_alpha_when_positives_are_rare(record_property):
    """One example in twelve is positive, and the candidate's scores follow the baseline's with noise."""
    random, n, positives = np.random.default_rng(16), 600, 50
    gate, rates = policy(0.05), {}
    labels = np.arange(n) < positives
    # With noise of 0.6, the AUC of normal scores falls from .9214 to .8714 if positives move by .1317 less.
    for name, noise, shift in (("false blessings", 0.6, 0.1318), ("power", 0.2, 0.0)):
        count = 0
        for _ in range(EVALUATIONS):
            base = random.normal(2.0 * labels, 1.0)
            mine = base + random.normal(0, noise, n) - shift * labels
            numbers = random.integers(PARTS, size=n)
            changes, sizes = change_of_auc(base, mine, labels, numbers)
            count += blessed(*resampled(n, changes[0], changes[1:].tolist(), sizes), gate)
        rates[name] = count / EVALUATIONS
        record_property(name, rates[name])
    print(f"AUC: {rates}")
    assert rates["false blessings"] <= MOST
    assert rates["power"] > 0.5


def change_of_auc(base, mine, labels, numbers):
    """The change of the area under the curve, of all examples and without each part, by counting pairs."""
    wins = [
        (scores[labels][:, None] > scores[~labels][None]).astype(float)
        + 0.5 * (scores[labels][:, None] == scores[~labels][None])
        for scores in (base, mine)
    ]
    of_positive, of_negative = np.eye(PARTS)[numbers[labels]], np.eye(PARTS)[numbers[~labels]]
    pairs = of_positive.T @ (wins[1] - wins[0]) @ of_negative
    counts = np.outer(of_positive.sum(axis=0), of_negative.sum(axis=0))

    def without(matrix):
        total = matrix.sum()
        return np.append(total, total - matrix.sum(axis=0) - matrix.sum(axis=1) + np.diag(matrix))

    return without(pairs) / without(counts), np.bincount(numbers, minlength=PARTS)


def test_false_blessings_are_at_most_alpha_when_groups_have_unequal_sizes(record_property):
    """Most of 400 groups have fewer examples than the mean, and the largest has about ten times as many."""
    random, gate, rates = np.random.default_rng(20), policy(0.06), {}
    for name, harm in (("false blessings", 0.06), ("power", 0.0)):
        count = 0
        for _ in range(EVALUATIONS):
            members = np.maximum(1, random.lognormal(2, 1, 400).astype(int))
            numbers = np.repeat(random.integers(PARTS, size=400), members)
            wrong = np.repeat(random.random(400) < harm, members)
            values = -1.0 * wrong + random.normal(0, 0.01, len(wrong))
            sizes, sums = np.bincount(numbers), np.bincount(numbers, values)
            deleted = (values.sum() - sums) / (len(values) - sizes)
            (base,), [(mine,)] = resampled(len(values), values.mean(), deleted.tolist(), sizes)
            slices = [one.model_copy(update={"groups": 400}) for one in (base, mine)]
            count += blessed(slices[:1], [tuple(slices[1:])], gate, {"metric": 1.0})
        rates[name] = count / EVALUATIONS
        record_property(name, rates[name])
    print(f"groups of unequal sizes: {rates}")
    assert rates["false blessings"] <= MOST
    assert rates["power"] >= 0.9


@pytest.mark.parametrize("groups", [20, 400])
def test_false_blessings_of_errors_without_limit_are_at_most_alpha_when_few_groups_are_wrong(groups, record_property):
    """One group in twenty has a large error. Where none is among the examples, nothing shows it."""
    random, gate, rates = np.random.default_rng(23), policy(MARGIN, field="max_rise_from_baseline"), {}
    for name, mean in (("false blessings", MARGIN), ("power", 0.0)):
        count = 0
        for _ in range(EVALUATIONS):
            members = np.maximum(1, random.lognormal(2, 1, groups).astype(int))
            own = np.where(random.random(groups) < 0.05, 0.4, 0.0) - 0.02 + mean
            values = np.repeat(own, members) + random.normal(0, 0.02, members.sum())
            numbers = np.repeat(np.arange(groups) if groups <= 64 else random.integers(PARTS, size=groups), members)
            sizes, sums = np.bincount(numbers), np.bincount(numbers, values)
            deleted = (values.sum() - sums) / (len(values) - sizes)
            (base,), [(mine,)] = resampled(len(values), values.mean(), deleted.tolist(), sizes)
            slices = [one.model_copy(update={"groups": groups}) for one in (base, mine)]
            count += blessed(slices[:1], [tuple(slices[1:])], gate)
        rates[name] = count / EVALUATIONS
        record_property(name, rates[name])
    print(f"{groups} groups, errors without limit: {rates}")
    assert rates["false blessings"] <= MOST
    assert rates["power"] >= (0.5 if groups == 400 else 0.0)


@pytest.mark.parametrize("groups", [60, 400])
def test_false_blessings_are_at_most_alpha_when_groups_are_wrong_together(groups, record_property):
    """Ten examples in each group. As independent examples, they would be ten times as many as they are."""
    random, gate, rates = np.random.default_rng(17), policy(0.06), {}
    for name, harm in (("false blessings", 0.06), ("as if independent", 0.06), ("power", 0.0)):
        count = 0
        for _ in range(EVALUATIONS):
            values = np.repeat(-1.0 * (random.random(groups) < harm), 10) + random.normal(0, 0.01, groups * 10)
            # Up to 64 groups are parts of their own.
            numbers = np.repeat(np.arange(groups) if groups <= 64 else random.integers(PARTS, size=groups), 10)
            among = groups
            if name == "as if independent":
                numbers, among = random.integers(PARTS, size=groups * 10), None
            sizes, sums = np.bincount(numbers), np.bincount(numbers, values)
            deleted = (values.sum() - sums) / (len(values) - sizes)
            (base,), [(mine,)] = resampled(len(values), values.mean(), deleted.tolist(), sizes)
            slices = [one.model_copy(update={"groups": among}) for one in (base, mine)]
            count += blessed(slices[:1], [tuple(slices[1:])], gate, {"metric": 1.0})
        rates[name] = count / EVALUATIONS
        record_property(name, rates[name])
    print(f"{groups} groups: {rates}")
    assert rates["false blessings"] <= MOST < rates["as if independent"]
    assert rates["power"] >= 0.9
