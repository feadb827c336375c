import numpy as np
import pytest

from components.calibrate.audit import audit_sample, refuse_errors
from components.calibrate.sampling import Sample
from components.calibrate.survey import BINS, InputSurvey, Survey
from components.core.errors import DataError
from components.facts.audit import StratumFact
from components.spec.calibrate import CalibrationSpec

COUNT = 200


def evenly(low=0.0, high=1.0, features=3):
    """Values whose halves, whichever they are, have nearly the same range."""
    values = np.tile([low, high, (low + high) / 2, low], COUNT // 4)
    return np.stack([np.roll(values, shift) for shift in range(features)], axis=1).astype(np.float32)


def audited(
    values=None,
    low=0.0,
    high=1.0,
    not_finite=0,
    repeated=0,
    labels=(),
    split_labels=(),
    strata=(),
    transformed=False,
    **spec,
):
    values = evenly() if values is None else values
    inputs = values if isinstance(values, dict) else {"": values}
    taken = len(next(iter(inputs.values())))
    sample = Sample(tuple(b"%d" % index for index in range(taken)), 1000, strata)
    surveyed = {name: InputSurvey(low, high, not_finite, np.ones(BINS, np.int64)) for name in inputs}
    return audit_sample(
        sample,
        CalibrationSpec(**{"samples": taken, "seed": 3, **spec}),
        inputs,
        set(labels),
        Survey(surveyed, set(split_labels), repeated),
        transformed=transformed,
    )


def found(report, check):
    return [(finding.severity, finding.message) for finding in report.findings if finding.check == check]


def test_audit_finds_nothing_when_sample_is_sound():
    report = audited(labels=[0, 1], split_labels=[0, 1])
    assert report.findings == ()
    assert (report.asked, report.taken, report.available, report.seed) == (200, 200, 1000, 3)
    refuse_errors(report)


def test_audit_reports_ranges_and_histogram_when_sample_is_sound():
    (fact,) = audited(low=-0.05, high=1.05).ranges
    assert fact.sample == (0, 1) and fact.split == (-0.05, 1.05)
    assert fact.halves == ((0, 1), (0, 1))
    # Of 600 values half are 0, a quarter 0.5 and a quarter 1, which belongs into the last bin.
    assert [(bin_, count) for bin_, count in enumerate(fact.histogram) if count] == [(0, 300), (32, 150), (63, 150)]
    assert fact.split_histogram == (1,) * 64


def test_audit_counts_values_when_some_are_not_finite():
    values = evenly()
    values[3, 1], values[7] = np.nan, np.inf
    report = audited(values, not_finite=9)
    ((severity, message),) = found(report, "non_finite")
    assert severity == "error"
    assert message == "4 values in the sample and 9 in its split are NaN or infinite"
    assert report.ranges[0].sample == (0, 1)


def test_audit_counts_values_when_only_the_split_has_nan():
    assert found(audited(not_finite=2), "non_finite") == [
        ("error", "0 values in the sample and 2 in its split are NaN or infinite")
    ]


def test_audit_names_features_when_some_are_constant():
    values = evenly()
    values[:, 1] = 0.25
    assert found(audited(values), "constant") == [("warning", "1 of 3 features are constant: 1")]


def test_audit_is_silent_when_pixels_of_images_are_constant():
    images = evenly(features=16).reshape(-1, 4, 4, 1).copy()
    images[:, 0] = 0
    assert found(audited(images), "constant") == []


def test_audit_errs_when_all_inputs_are_constant():
    assert found(audited(np.full([COUNT, 4], 0.5, np.float32)), "constant") == [
        ("error", "every value in the sample is 0.5")
    ]


def test_audit_warns_when_one_of_two_inputs_is_constant():
    report = audited({"image": evenly(), "flag": np.zeros([COUNT, 1], np.float32)})
    assert found(report, "constant") == [("warning", "every value in the sample is 0.0")]
    assert [finding.where for finding in report.findings if finding.check == "constant"] == ["input flag"]


def test_audit_names_strata_when_none_of_them_was_taken():
    strata = (StratumFact(value="a", available=9, taken=3), StratumFact(value="b", available=1, taken=0))
    report = audited(strata=strata, stratify_by="kind")
    assert found(report, "missing_stratum") == [("warning", "1 of 2 values are not in the sample: b")]
    assert report.strata == strata


def test_audit_names_classes_when_sample_lacks_them():
    report = audited(labels=[0, 2], split_labels=range(9))
    assert found(report, "missing_stratum") == [
        ("warning", "7 of 9 classes are not in the sample: 1, 3, 4, 5, 6 and 2 more")
    ]


@pytest.mark.parametrize(("high", "warned"), [(1.11, False), (1.12, True)])
def test_audit_warns_when_less_than_nine_tenths_of_the_range_is_covered(high, warned):
    messages = found(audited(high=high), "range")
    assert bool(messages) == warned
    if warned:
        expected = "the calibration sample ranges from 0 to 1, its split from 0 to 1.12: 89% of that range is covered"
        assert messages == [("warning", expected)]


@pytest.mark.parametrize(("repeated", "severity"), [(0, None), (2, "warning"), (3, "error")])
def test_audit_errs_when_more_than_one_percent_occurs_in_the_evaluation_split(repeated, severity):
    messages = found(audited(repeated=repeated), "leak")
    assert [one for one, _ in messages] == ([severity] if severity else [])
    if severity:
        assert messages[0][1].startswith(f"{repeated} of the sampled examples ({repeated / 2:.1f}%) also occur in the")


def test_audit_only_warns_of_repetitions_when_examples_were_transformed():
    report = audited(repeated=150, transformed=True)
    ((severity, message),) = found(report, "leak")
    assert severity == "warning"
    assert message.endswith("also occur in the evaluation split after the transformation; before it, they may differ")
    assert "(75.0%)" in message
    refuse_errors(report)


def test_audit_warns_when_one_example_widens_the_range():
    values = evenly(high=0.8)
    values[17, 0] = 1.0
    ((severity, message),) = found(audited(values), "stability")
    assert severity == "warning"
    assert (
        message.startswith("two halves of the calibration sample have ranges")
        and "they differ by 20% of the sample's range" in message
    )


def test_audit_is_silent_when_halves_differ_by_less_than_a_tenth():
    values = evenly(high=0.91)
    values[17, 0] = 1.0
    assert found(audited(values), "stability") == []


def test_audit_says_that_all_were_taken_when_fewer_exist():
    assert found(audited(samples=500), "size") == [
        ("warning", "500 examples were requested, but the split 'train' has only 200, so all were taken")
    ]


@pytest.mark.parametrize(("count", "informs"), [(99, True), (100, False)])
def test_audit_informs_when_examples_are_fewer_than_100(count, informs):
    severities = [severity for severity, _ in found(audited(evenly()[:count]), "size")]
    assert severities == (["info"] if informs else [])


def test_refuse_errors_names_all_errors_and_no_warning_when_there_are_several():
    values = evenly()
    values[0, 0] = np.nan
    with pytest.raises(DataError) as caught:
        refuse_errors(audited(values, repeated=50, high=9.0))
    assert "1 values in the sample and 0 in its split are NaN" in str(caught.value)
    assert "50 of the sampled examples (25.0%)" in str(caught.value)
    assert "of that range is covered" not in str(caught.value)
    assert "Remedy: remove the shared examples" in str(caught.value)
