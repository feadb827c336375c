"""How often a broken bound passes, for metrics that are not right or wrong, and how often one passes that holds.

Each case draws 2,000 evaluations from a truth in which the true change is the margin, and 200 without a change. The
rates are properties of the test report. `benchmarks/false_blessings.py` draws more of them, and worse ones.
"""

import numpy as np
import pytest
from scipy import optimize

from components.facts.evaluation import MetricValue, SliceResult
from components.facts.sample import Sample
from components.gate.evidence import evidence_of_values, of_parts
from components.metrics.ranks import area_terms
from components.metrics.ready_made.detection import MeanAveragePrecision, average_precisions
from tests.samples import sample_of

EVALUATIONS, POWER_EVALUATIONS, ALPHA = 2000, 200, 0.05
# Three standard errors of a rate of 5 % over 2,000 evaluations.
MOST = ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / EVALUATIONS)


def passes(candidate: Sample, baseline: Sample, examples, margin):
    """Whether the test of one bound on a drop passes, as the gate decides it."""
    own, theirs = (
        SliceResult(slice="overall", examples=examples, metrics={"m": MetricValue(value=0.5)}, samples={"m": one})
        for one in (candidate, baseline)
    )
    return evidence_of_values(own, theirs, "m", -margin, 1, None).p <= ALPHA


def rates(name, draw, margin, record_property):
    """`draw` gets the true change, and returns samples of candidate and baseline, and the number of examples."""
    found = {
        "false blessings": np.mean([passes(*draw(-margin), margin) for _ in range(EVALUATIONS)]),
        "power": np.mean([passes(*draw(0.0), margin) for _ in range(POWER_EVALUATIONS)]),
    }
    for key, value in found.items():
        record_property(key, float(value))
    print(f"{name}: {found}")
    assert found["false blessings"] <= MOST
    return found["power"]


def paired(changes, denominators=None):
    """Samples whose difference is `changes`, with values between 0 and 1 per denominator."""
    denominators = np.ones(len(changes)) if denominators is None else denominators
    changes = np.clip(changes, -denominators, denominators)
    return tuple(sample_of((denominators + sign * changes) / 2, denominators) for sign in (1, -1))


random = np.random.default_rng(14)
# Changes per example with a mean of `mean`: even; most of them zero; rare and half or wholly wrong; skewed; of a heavy
# tail that ends at the range.
CHANGES = {
    "normal": lambda n, mean: random.normal(mean, 0.1, n),
    "many ties": lambda n, mean: np.where(random.random(n) < 0.1, random.normal(10 * mean, 0.2, n), 0.0),
    "rare, half wrong": lambda n, mean: np.where(random.random(n) < -2 * mean, -0.5, 0.0),
    "rare, wholly wrong": lambda n, mean: np.where(random.random(n) < -mean, -1.0, 0.0) + random.normal(0, 1e-4, n),
    "skewed": lambda n, mean: mean - (random.lognormal(0, 1, n) - np.exp(0.5)) * 0.05,
    "heavy tail": lambda n, mean: -np.minimum(0.0083 * (random.pareto(1.2, n) + 1), 1.0) + 0.0339 + mean,
}


@pytest.mark.parametrize(
    ("kind", "examples", "margin", "least_power"),
    [
        *((kind, 300, 0.03, 0.4) for kind in CHANGES),
        ("rare, wholly wrong", 30, 0.12, 0.9),
    ],
)
def test_false_blessings_of_means_are_at_most_alpha(kind, examples, margin, least_power, record_property):
    draw = CHANGES[kind]
    power = rates(
        f"{kind}, {examples} examples",
        lambda mean: (*paired(draw(examples, mean)), examples),
        margin,
        record_property,
    )
    assert power >= least_power


def test_false_blessings_of_ratios_are_at_most_alpha_when_long_sequences_are_harmed(record_property):
    """The share of correct steps of 300 sequences of 5 to 60 steps. Only those of more than 40 are lost, as a whole."""

    def draw(mean):
        steps = random.integers(5, 61, 300)
        # A share of 0.5549 of all steps belongs to these.
        lost = np.where((steps > 40) & (random.random(300) < -mean / 0.5549), steps, 0)
        return *paired(-lost.astype(float), steps.astype(float)), 300

    assert rates("ratio of sums", draw, 0.04, record_property) >= 0.9


@pytest.mark.parametrize("case", ["equal sizes", "unequal sizes", "large groups alone are harmed"])
def test_false_blessings_of_groups_are_at_most_alpha_when_groups_are_wrong_as_a_whole(case, record_property):
    """The largest of 400 groups of unequal sizes has about five times as many examples as the mean."""

    def draw(mean):
        members = np.full(400, 10.0) if case == "equal sizes" else np.ceil(random.lognormal(2, 0.6, 400))
        chance = np.full(400, -mean)
        if case == "large groups alone are harmed":
            # They have a share of .0882 of all examples.
            chance = np.where(members > 24, -mean / 0.0882, 0.0)
        return *paired(-1.0 * (random.random(400) < chance) * members, members), int(members.sum())

    assert rates(f"400 groups, {case}", draw, 0.06, record_property) >= 0.9


def test_false_blessings_are_at_most_alpha_when_one_group_in_twenty_has_a_large_error(record_property):
    def draw(mean):
        members = np.ceil(random.lognormal(2, 0.6, 400))
        own = np.where(random.random(400) < 0.05, -0.4, 0.0) + 0.02 + mean + random.normal(0, 0.02, 400)
        return *paired(own * members, members), int(members.sum())

    assert rates("400 groups, one in twenty", draw, 0.06, record_property) >= 0.9


def area_samples(labels, baseline, candidate, groups=None):
    samples = []
    for scores in (candidate, baseline):
        terms = area_terms(labels, scores)
        sums = [np.bincount(np.arange(len(labels)) if groups is None else groups, each) for each in terms[:2]]
        kinds = [terms.denominators[terms.kinds == kind].max() for kind in (0, 1)]
        largest = kinds if groups is None else None
        samples.append(sample_of(*sums, least=terms.least, greatest=terms.greatest, largest=largest))
    return (*samples, len(labels))


# With scores 2 above those of negatives, an area of .9214; with 3, of .9831.
@pytest.mark.parametrize(
    ("positives", "negatives", "distance", "area", "margin", "least_power"),
    [(30, 300, 3, 0.9831, 0.1, 0.4), (30, 300, 2, 0.9214, 0.15, 0.9), (100, 300, 3, 0.9831, 0.05, 0.9)],
)
def test_false_blessings_of_areas_are_at_most_alpha_when_scores_of_positives_collapse(
    positives, negatives, distance, area, margin, least_power, record_property
):
    """The harm is as rare and as large as it can be: a few of the positives fall below all negatives."""
    labels = np.arange(positives + negatives) < positives

    def draw(mean):
        baseline = random.normal(distance * labels, 1.0)
        candidate = np.where(labels & (random.random(len(labels)) < -mean / area), -50.0, baseline)
        return area_samples(labels, baseline, candidate + random.normal(0, 0.05, len(labels)))

    assert rates(f"area, {positives} positives", draw, margin, record_property) >= least_power


def test_false_blessings_of_areas_are_at_most_alpha_when_candidates_are_noisy(record_property):
    """With noise of 0.6, the area of normal scores falls from .9214 to .8714 if positives move by .1318 less."""
    labels = np.arange(500) < 150

    def draw(mean):
        baseline = random.normal(2.0 * labels, 1.0)
        noise, shift = (0.6, 0.1318) if mean else (0.2, 0.0)
        return area_samples(labels, baseline, baseline + random.normal(0, noise, 500) - shift * labels)

    assert rates("area, noise", draw, 0.05, record_property) >= 0.9


def test_false_blessings_of_areas_are_at_most_alpha_when_clips_collapse(record_property):
    """Of 60 anomalous and 140 normal clips of 4 to 8 windows, scores of whole anomalous clips fall below all others."""

    def draw(mean):
        windows = random.integers(4, 9, 200)
        clips = np.repeat(np.arange(200), windows)
        labels = clips < 60
        baseline = np.repeat(random.normal(0, 0.8, 200), windows) + random.normal(2.0 * labels, 0.6)
        harmed = np.repeat(random.random(200) < -mean / 0.9214, windows) & labels
        return area_samples(labels, baseline, np.where(harmed, -50.0, baseline), clips)

    assert rates("area, clips", draw, 0.12, record_property) >= 0.9


# Whether the baseline predicts a class, and whether it is that class: right, false alarms, missed, and neither.
ONE_CLASS = {(1, 1): 0.27, (1, 0): 0.03, (0, 1): 0.02, (0, 0): 0.68}
SCORES = {"precision": (1, 1, 0), "f1": (2, 1, 1)}


def of_one_class(score, found, there):
    """Numerators and denominators, as in `components.metrics.ready_made.classes`."""
    times, of_found, of_there = SCORES[score]
    return times * found * there, of_found * found + of_there * there


@pytest.mark.parametrize(
    ("score", "harm", "examples", "margin", "least_power"),
    [
        ("precision", "false alarms", 300, 0.1, 0.8),
        ("precision", "false alarms", 60, 0.25, 0.7),
        ("f1", "right ones are lost", 300, 0.1, 0.9),
        ("f1", "false alarms", 100, 0.15, 0.7),
    ],
)
def test_false_blessings_of_precision_and_f1_are_at_most_alpha(
    score, harm, examples, margin, least_power, record_property
):
    """Both models divide by different sums: what they predict."""
    (found, there), shares = np.array(list(ONE_CLASS)).T, np.array(list(ONE_CLASS.values()))
    harmed = (found == 0) & (there == 0) if harm == "false alarms" else (found == 1) & (there == 1)

    def change_at(chance):
        own = of_one_class(score, np.where(harmed, (1 - chance) * found + chance * (1 - found), found), there)
        its = of_one_class(score, found, there)
        return own[0] @ shares / (own[1] @ shares) - its[0] @ shares / (its[1] @ shares)

    def draw(mean):
        # Where nothing is harmed, one answer in a hundred changes.
        chance = optimize.brentq(lambda each: change_at(each) - mean, 0, 1) if mean else 0.01
        kinds = random.choice(len(shares), examples, p=shares)
        flipped = (random.random(examples) < chance) & (harmed[kinds] | (mean == 0))
        candidate = np.where(flipped, 1 - found[kinds], found[kinds])
        terms = [of_one_class(score, each, there[kinds]) for each in (candidate, found[kinds])]
        return *(sample_of(*each) for each in terms), examples

    assert rates(f"{score}, {harm}, {examples} examples", draw, margin, record_property) >= least_power


def passes_by_parts(change, sizes, margin, span=1.0):
    """Whether the jackknife lets a change pass, given it, and it without each part."""
    return of_parts(change[0] + margin, change[0], change[1:].tolist(), sizes.tolist(), 1, span).p <= ALPHA


# Share of harmed images for a change of -.06.
@pytest.mark.parametrize(("kind", "harm"), [("lost images", 0.03), ("a confused class", 0.276)])
def test_false_blessings_of_functions_with_a_range_are_at_most_alpha(kind, harm, record_property):
    """The mean IoU of 4 classes over 1,500 images, which is no ratio of sums. One image in eight has the last class.

    An image has 100 pixels of the first three classes. Of the last, it has 40 or none. Sums of images are drawn for
    each of 20 parts, because no test reads single images.
    """
    margin, images, shares, last = 0.06, 1500, [0.5, 0.3, 0.2], 40

    def pixels_of(with_last, without):
        """Pixels of images by class, [..., 4], for their numbers with and without the last class."""
        return np.concatenate(
            [random.multinomial(100 * (with_last + without), shares), last * with_last[..., None]], -1
        )

    def totals_of(pixels, wrong):
        """Intersections and unions of all images, and without each part, [E, 21, 8]. Wrong ones are the next class."""
        parts = np.concatenate([pixels - wrong, pixels + np.roll(wrong, 1, axis=-1)], axis=-1).astype(float)
        whole = parts.sum(axis=1, keepdims=True)
        return np.concatenate([whole, whole - parts], axis=1)

    def iou(totals):
        return (totals[..., :4] / totals[..., 4:]).mean(axis=-1)

    def draw(harm, evaluations):
        sizes = random.multinomial(images, [1 / 20] * 20, evaluations)
        with_last = random.binomial(sizes, 1 / 8)
        lost = [random.binomial(each, harm) for each in (with_last, sizes - with_last)]
        harmed, sound = pixels_of(*lost), pixels_of(with_last - lost[0], sizes - with_last - lost[1])
        # Harmed images lose all pixels, or those of the last class.
        gone = harmed if kind == "lost images" else harmed * (np.arange(4) == 3)
        wrong = gone + random.binomial(harmed - gone + sound, 0.05)
        pixels = harmed + sound
        change = iou(totals_of(pixels, wrong)) - iou(totals_of(pixels, random.binomial(pixels, 0.05)))
        return change, sizes

    found = {}
    for name, share, evaluations in (("false blessings", harm, EVALUATIONS), ("power", 0.0, POWER_EVALUATIONS)):
        changes, sizes = draw(share, evaluations)
        if share:
            # The estimate is biased a little, so the mean of all is that of a larger sample.
            assert changes[:, 0].mean() == pytest.approx(-margin, abs=0.002)
        found[name] = np.mean([passes_by_parts(*each, margin) for each in zip(changes, sizes, strict=True)])
        record_property(name, float(found[name]))
    print(f"mean IoU, {kind}: {found}")
    assert found["false blessings"] <= MOST
    assert found["power"] >= 0.9


def areas_without_parts(images, scores, matched, objects, parts):
    """The mean average precision at one IoU of all images, and without those of each part, [21].

    Args:
        images, scores, matched: Of each detection: its image, its score, and whether it has an object.
        objects, parts: Of each image: its number of objects, and its part.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.vstack([np.ones(len(parts)), np.arange(20)[:, None] != parts])
    counts = kept[:, images[order]]
    found, all_of = np.cumsum(counts * matched[order], axis=1), np.cumsum(counts, axis=1)
    precisions = found / np.maximum(all_of, 1)
    best = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    best = np.column_stack([best, np.zeros(21)])
    recalls = np.round(found / (kept @ objects)[:, None], 12)
    return np.array([row[np.searchsorted(reached, RECALLS)].mean() for row, reached in zip(best, recalls, strict=True)])


RECALLS = np.linspace(0, 1, 101)


def test_areas_without_parts_are_those_of_the_metric():
    images, scores, matched = random.integers(300, size=900), random.random(900), random.random(900) < 0.7
    objects, parts = np.bincount(images[matched], minlength=300) + (random.random(300) < 0.2), np.arange(300) % 20
    found = areas_without_parts(images, scores, matched, objects, parts)
    for part in (None, 0, 19):
        chosen = parts[images] != part
        order = np.argsort(-scores[chosen], kind="stable")
        expected = average_precisions(matched[chosen][None, order], objects[parts != part].sum(), np.ones(chosen.sum()))
        assert found[0 if part is None else part + 1] == pytest.approx(expected[0], abs=1e-12)


# Share of harmed images for a change of -.06.
@pytest.mark.parametrize(("kind", "harm"), [("lost images", 0.068), ("false alarms", 0.066)])
def test_false_blessings_of_average_precision_are_at_most_alpha(kind, harm, record_property):
    """1,000 images with one or two objects of a class. Harmed ones lose all detections, or get one false, sure one."""
    margin, count = 0.06, 1000

    def draw(harm):
        objects = random.integers(1, 3, count)
        true = np.repeat(np.arange(count), objects)
        true = true[random.random(len(true)) < 0.9]
        false = np.flatnonzero(random.random(count) < 0.3)
        images, matched = np.concatenate([true, false]), np.arange(len(true) + len(false)) < len(true)
        scores = random.normal(2.0 * matched, 1.0)
        harmed = random.random(count) < harm
        own = [images, scores + random.normal(0, 0.05, len(scores)), matched]
        if kind == "lost images":
            own = [each[~harmed[images]] for each in own]
        else:
            more = np.flatnonzero(harmed)
            own = [np.append(each, new) for each, new in zip(own, (more, more * 0 + 9.0, more < 0), strict=True)]
        parts = random.integers(20, size=count)
        change = areas_without_parts(*own, objects, parts) - areas_without_parts(
            images, scores, matched, objects, parts
        )
        return change, np.bincount(parts, minlength=20)

    found = {}
    for name, share, evaluations in (("false blessings", harm, EVALUATIONS), ("power", 0.0, POWER_EVALUATIONS)):
        drawn = [draw(share) for _ in range(evaluations)]
        if share:
            assert np.mean([change[0] for change, _ in drawn]) == pytest.approx(-margin, abs=0.002)
        found[name] = np.mean([passes_by_parts(*each, margin) for each in drawn])
        record_property(name, float(found[name]))
    print(f"average precision, {kind}: {found}")
    assert found["false blessings"] <= MOST
    assert found["power"] >= 0.9


def test_images_with_a_hundred_false_alarms_are_rarely_blessed_if_so_many_detections_count():
    """1,000 images with an object, which is found, and a false detection below it. Some get 100 false, sure ones.

    With such images, the mean change is beyond the margin, but many samples have none of them.
    """
    margin, count, alarms, evaluations = 0.06, 1000, 100, 120
    images, matched = np.tile(np.arange(count), 2), np.arange(2 * count) < count
    scores, objects = np.where(matched, 1.0, 0.0), np.ones(count, int)
    span = MeanAveragePrecision(max_detections=alarms).influence

    def draw():
        harmed = np.repeat(np.flatnonzero(random.random(count) < 0.0008), alarms)
        own = (
            np.append(each, new)
            for each, new in zip((images, scores, matched), (harmed, harmed * 0 + 9.0, harmed < 0), strict=True)
        )
        parts = random.integers(20, size=count)
        before = areas_without_parts(images, scores, matched, objects, parts)
        return areas_without_parts(*own, objects, parts) - before, np.bincount(parts, minlength=20)

    drawn = [draw() for _ in range(evaluations)]
    assert np.mean([change[0] for change, _ in drawn]) < -margin
    # What the test assumes of a metric that it doesn't know is not enough.
    assert np.mean([passes_by_parts(*each, margin) for each in drawn]) > 0.2
    assert np.mean([passes_by_parts(*each, margin, span) for each in drawn]) <= ALPHA
    # More images, or fewer detections that count, let a candidate without any change pass.
    enough = of_parts(margin, 0.0, [0.0] * 20, [50] * 20, 1, span).enough(ALPHA)
    assert 5000 < enough < 8000
    assert of_parts(margin, 0.0, [0.0] * 20, [50] * 20, 1, MeanAveragePrecision(max_detections=8).influence).p <= ALPHA
