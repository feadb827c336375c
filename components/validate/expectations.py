"""Tightens a schema with the pipeline file's expectations, and reports anomalies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.core.errors import DataError, one_of
from components.spec.validate import DataExpectations


def tighten(schema: Any, expectations: DataExpectations) -> None:
    """Add constraints to a TensorFlow Metadata schema: labels are present, classes in range, floats finite.

    Raises:
        DataError: The schema doesn't have the label.
    """
    if expectations.label:
        _tighten_label(schema, expectations)
    for feature in schema.feature:
        if feature.type == schema_pb2.FLOAT and feature.WhichOneof("domain_info") in {None, "float_domain"}:
            feature.float_domain.disallow_nan = True
            feature.float_domain.disallow_inf = True


def _tighten_label(schema: Any, expectations: DataExpectations) -> None:
    label = next((feature for feature in schema.feature if feature.name == expectations.label), None)
    if label is None:
        raise DataError(
            "the examples do not have this label",
            where="examples.label",
            bound=one_of(sorted(feature.name for feature in schema.feature)) or "a schema with features",
            measured=expectations.label,
            remedy="specify the feature that contains the label, or add the label to the examples",
        )
    label.presence.min_fraction = 1.0
    label.presence.min_count = 1
    if expectations.num_classes is not None:
        label.int_domain.min = 0
        label.int_domain.max = expectations.num_classes - 1


def refuse_single_class(statistics: Any, label: str, split: str) -> None:
    """Refuse an evaluation split whose examples all have the same class: an integer, or a float that is 0 or 1.

    Args:
        statistics: A `DatasetFeatureStatisticsList` of the split.
        label: Name of the label, a number.
        split: Name of the split.

    Raises:
        DataError: There are examples, and all have the same class.
    """
    for dataset in statistics.datasets:
        for feature in dataset.features:
            numbers = feature.num_stats
            if label not in {feature.name, *feature.path.step} or not numbers.common_stats.num_non_missing:
                continue
            of_classes = feature.type == statistics_pb2.FeatureNameStatistics.INT or numbers.min in (0, 1)
            if of_classes and numbers.min == numbers.max:
                raise DataError(
                    f"all examples of the evaluation split {split!r} have the same class, so metrics say nothing about "
                    "the others",
                    where="evaluate.split",
                    bound="examples of at least two classes",
                    measured=f"{label} = {numbers.min:g} in {numbers.common_stats.num_non_missing:,} examples",
                    remedy="evaluate a split that has all classes, or shuffle the examples before you split them",
                )


def refuse_anomalies(anomalies: Mapping[str, Any], read: Collection[str] | None = None) -> list[str]:
    """Refuse every anomaly of every split, except in features that the run doesn't read.

    Args:
        anomalies: Split name -> `tensorflow_metadata` Anomalies.
        read: The features that the run reads; None for all.

    Returns:
        Descriptions of the anomalies in features that the run doesn't read.

    Raises:
        DataError: There are anomalies in features that the run reads. The error lists them all.
    """
    found: list[str] = []
    unread: list[str] = []
    for split, report in anomalies.items():
        for name, info in sorted(report.anomaly_info.items()):
            feature = info.path.step[0] if info.path.step else name
            description = f"split {split!r}, feature {name!r}: {info.description or info.short_description}"
            (found if read is None or feature in read else unread).append(description)
    found += [
        f"split {split!r}: {report.dataset_anomaly_info.description}"
        for split, report in anomalies.items()
        if report.HasField("dataset_anomaly_info")
    ]
    if found:
        raise DataError(
            "the examples have anomalies: " + " | ".join(found),
            where="examples",
            bound="examples that match the schema, with labels in range and finite numbers",
            remedy="correct the data, examples.schema_file, or examples.num_classes",
        )
    return unread
