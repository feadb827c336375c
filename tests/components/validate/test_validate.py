from contextlib import nullcontext

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.core.errors import DataError
from components.spec.validate import DataExpectations
from components.validate.expectations import refuse_anomalies, refuse_single_class, tighten
from components.validate.overlap import Overlap, find_overlaps, of_features, refuse_overlaps
from tests.small_pipeline import serialize


def schema() -> schema_pb2.Schema:
    made = schema_pb2.Schema()
    made.feature.add(name="image", type=schema_pb2.FLOAT)
    made.feature.add(name="label", type=schema_pb2.INT)
    made.feature.add(name="name", type=schema_pb2.BYTES)
    return made


def test_schema_is_tightened_by_expectations() -> None:
    made = schema()
    tighten(made, DataExpectations(label="label", num_classes=10))
    image, label, name = made.feature
    assert (image.float_domain.disallow_nan, image.float_domain.disallow_inf) == (True, True)
    assert (label.presence.min_fraction, label.int_domain.min, label.int_domain.max) == (1.0, 0, 9)
    assert name == schema().feature[2]


def test_label_without_classes_has_no_range() -> None:
    made = schema()
    tighten(made, DataExpectations(label="label"))
    assert not made.feature[1].HasField("int_domain")


def test_schema_without_a_label_is_tightened_for_numbers_alone() -> None:
    made = schema()
    tighten(made, DataExpectations())
    assert made.feature[0].float_domain.disallow_nan
    assert made.feature[1] == schema().feature[1]
    with pytest.raises(ValueError, match="specify its feature in `label`"):
        DataExpectations(num_classes=3)


def test_missing_label_is_reported_with_the_features_there_are() -> None:
    with pytest.raises(DataError, match=r"not have this label \(expected: one of image, label, name; found: class\)"):
        tighten(schema(), DataExpectations(label="class"))


def statistics(*labels: int) -> statistics_pb2.DatasetFeatureStatisticsList:
    made = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = made.datasets.add()
    dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT).path.step.append("image")
    label = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.INT)
    label.path.step.append("label")
    if labels:
        label.num_stats.min, label.num_stats.max = min(labels), max(labels)
        label.num_stats.common_stats.num_non_missing = len(labels)
    return made


def test_evaluation_split_of_a_single_class_is_refused() -> None:
    message = (
        "evaluate.split: all examples of the evaluation split 'eval' have the same class, so metrics say nothing about "
        r"the others \(expected: examples of at least two classes; found: label = 3 in 4 examples\)"
    )
    with pytest.raises(DataError, match=message):
        refuse_single_class(statistics(3, 3, 3, 3), "label", "eval")
    refuse_single_class(statistics(3, 3, 3, 4), "label", "eval")
    # Missing labels are anomalies, with their own error.
    refuse_single_class(statistics(), "label", "eval")


@pytest.mark.parametrize(("value", "refused"), [(0.0, True), (1.0, True), (0.5, False), (20.0, False)])
def test_constant_float_is_a_class_if_it_is_0_or_1(value: float, refused: bool) -> None:
    made = statistics(1, 1)
    label = made.datasets[0].features[1]
    label.type, label.num_stats.min, label.num_stats.max = statistics_pb2.FeatureNameStatistics.FLOAT, value, value
    with pytest.raises(DataError) if refused else nullcontext():
        refuse_single_class(made, "label", "eval")


def test_every_anomaly_of_every_split_is_reported() -> None:
    train, evaluation = anomalies_pb2.Anomalies(), anomalies_pb2.Anomalies()
    train.anomaly_info["label"].description = "Unexpectedly large value: 12."
    evaluation.anomaly_info["image"].description = "Float feature has NaN values."
    with pytest.raises(DataError) as caught:
        refuse_anomalies({"train": train, "eval": evaluation})
    assert "split 'train', feature 'label': Unexpectedly large value: 12." in str(caught.value)
    assert "split 'eval', feature 'image': Float feature has NaN values." in str(caught.value)


def test_examples_without_anomalies_pass() -> None:
    assert refuse_anomalies({"train": anomalies_pb2.Anomalies()}) == []


def test_anomaly_of_a_feature_that_nobody_reads_is_returned_and_one_that_is_read_refused() -> None:
    evaluation = anomalies_pb2.Anomalies()
    evaluation.anomaly_info["speaker"].description = "Examples contain values missing from the schema: anna."
    evaluation.anomaly_info["speaker"].path.step.append("speaker")
    said = "split 'eval', feature 'speaker': Examples contain values missing from the schema: anna."
    assert refuse_anomalies({"eval": evaluation}, {"image", "label"}) == [said]
    with pytest.raises(DataError, match="feature 'speaker'"):
        refuse_anomalies({"eval": evaluation}, {"image", "label", "speaker"})
    evaluation.dataset_anomaly_info.description = "Low num examples."
    with pytest.raises(DataError, match="Low num examples") as caught:
        refuse_anomalies({"eval": evaluation}, {"image", "label"})
    assert "speaker" not in str(caught.value)


def test_overlap_is_counted_by_content_with_repetitions_in_the_evaluation_split() -> None:
    evaluation = [b"a", b"a", b"b", b"c", b""]
    train = (b"x%d" % number for number in range(1 << 18))  # more than one chunk
    others = {"train": [b"a", *train, b"c"], "few": [], "same": evaluation[::-1]}
    assert find_overlaps(evaluation, others) == (
        Overlap(split="train", shared=3, examples=5),
        Overlap(split="few", shared=0, examples=5),
        Overlap(split="same", shared=5, examples=5),
    )
    assert find_overlaps([], {"train": [b"a"]})[0].share == 0.0


def test_feature_that_the_task_does_not_read_hides_no_overlap() -> None:
    def example(number: int, name: bytes | None, order: int = 1) -> bytes:
        features = {"image": np.full(3, number, np.float32), "label": number}
        return serialize(dict([*features.items()][::order]) | ({"id": name} if name is not None else {}))

    train, evaluation = [example(n, b"t%d" % n) for n in range(5)], [example(n, b"e%d" % n, -1) for n in range(3, 7)]
    (found,) = find_overlaps(evaluation, {"train": train})
    assert found.shared == 0
    splits = of_features({"train": lambda: train, "eval": lambda: evaluation}, {"image", "label", "absent"})
    (found,) = find_overlaps(splits.pop("eval"), splits)
    assert (found.shared, found.examples) == (2, 4)
    alone = [example(n, None) for n in range(3)]
    assert list(of_features({"train": lambda: alone}, {"image", "label"})["train"]) == alone


def test_overlap_above_the_bound_is_refused_with_bound_count_and_share() -> None:
    overlaps = (Overlap(split="train", shared=3, examples=200), Overlap(split="few", shared=2, examples=200))
    with pytest.raises(DataError) as caught:
        refuse_overlaps(overlaps, "eval", 0.01)
    assert "the evaluation split 'eval' shares examples with other splits" in str(caught.value)
    assert (
        "expected: at most 1.00% of its examples (examples.max_overlap: 0.01); "
        "found: 3 of 200 (1.50%) in the split 'train')"
    ) in str(caught.value)
    refuse_overlaps(overlaps, "eval", 0.015)
