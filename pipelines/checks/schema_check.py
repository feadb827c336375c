"""Checks a given schema against the first records; the run validates all records. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.ingest.schema import parse_schema
from components.validate.expectations import tighten
from pipelines.checks.first_records import files_by_split, first_records
from pipelines.file.spec import Examples

# Characters that an error quotes of a feature in the schema, and of its values in the data.
_QUOTED = 200


def check_schema(examples: Examples) -> None:
    """Check that a given schema is readable, has the label, and matches the first records of each split.

    Raises:
        DataError: A check fails. The message shows the feature, its entry in the schema, and its values in the records.
    """
    if not examples.schema_file:
        return
    path = examples.schema_file
    content = Path(path).read_bytes()
    tighten(parse_schema(content, path), examples)
    if "://" in examples.path:
        return
    schema = _of_each_record(parse_schema(content, path))
    types = _declared(schema)
    for split, files in files_by_split(examples):
        records = [record for file in files for record in first_records(file, examples.kind, types)]
        if records:
            _compare(schema, records, path, f"split {split!r}" if split else "examples")


def _of_each_record(schema: Any) -> Any:
    """Keep the schema's constraints on single records. A few records can't show fractions and counts over all."""
    schema.ClearField("dataset_constraints")
    for feature in schema.feature:
        feature.ClearField("unique_constraints")
        if feature.HasField("presence"):
            if feature.presence.min_fraction < 1:
                feature.ClearField("presence")
            else:
                feature.presence.min_count = 1
        if feature.HasField("distribution_constraints") and feature.distribution_constraints.min_domain_mass < 1:
            feature.ClearField("distribution_constraints")
            if feature.WhichOneof("domain_info"):
                feature.ClearField(feature.WhichOneof("domain_info"))
    return schema


def _declared(schema: Any) -> dict[str, Any]:
    """Map features to the schema's types, which CSV cells get if they can be parsed so."""
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2

    types = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32}
    return {feature.name: tf.io.VarLenFeature(types.get(feature.type, tf.string)) for feature in schema.feature}


def _compare(schema: Any, records: Sequence[bytes], path: str, where: str) -> None:
    """Raise a DataError if records contradict a schema."""
    import tensorflow as tf
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    try:
        parsed = [tf.train.Example.FromString(record) for record in records]
    except DecodeError:
        return  # reported when the task's features are parsed
    statistics = generate_statistics_in_memory(ExamplesToRecordBatchDecoder().DecodeBatch(list(records)))
    anomalies = tfdv.validate_statistics(statistics, schema).anomaly_info
    if not anomalies:
        return
    (key, anomaly), *others = sorted(anomalies.items())
    name = anomaly.path.step[0] if anomaly.path.step else key
    declared = next((feature for feature in schema.feature if feature.name == name), None)
    more = f"; so do those of {', '.join(other for other, _ in others)}" if others else ""
    raise DataError(
        f"the first records contradict the schema: {anomaly.description or anomaly.short_description}{more}",
        where=f"{path}: {where}, feature {name!r}",
        bound=_cut(text_format.MessageToString(declared, as_one_line=True))
        if declared is not None
        else f"one of {', '.join(sorted(feature.name for feature in schema.feature))}",
        measured=_cut(", ".join(dict.fromkeys(_held(each.features.feature, name) for each in parsed))),
        remedy="correct this feature in the schema, or the data; or leave `examples.schema_file` out to infer a schema",
    )


def _held(features: Any, name: str) -> str:
    """Describe a feature's value in a record."""
    kind = features[name].WhichOneof("kind") if name in features else None
    if kind is None:
        return "no value"
    values = getattr(features[name], kind).value
    type_name = {"int64_list": "INT", "float_list": "FLOAT", "bytes_list": "BYTES"}[kind]
    if len(values) != 1:
        return f"{type_name} of {len(values)} values"
    return f"{type_name} {values[0]:g}" if kind != "bytes_list" else f"{type_name} {values[0][:20]!r}"


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
