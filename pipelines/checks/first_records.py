"""Reads the first records as the tf.Examples that ExampleGen creates, and checks a given schema. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError, one_of, summary_line
from components.ingest.schema import parse_schema
from components.ingest.tables import TableReader, lines_of, with_names
from components.validate.expectations import tighten
from pipelines.checks.examples.made import samples
from pipelines.file.spec import CsvExamples, Examples, MadeExamples, ParquetExamples

# Enough to find errors that all records share, and few enough for slow models.
_COUNT = 4
# Number of bytes to check at the end of a CSV file.
_TAIL_BYTES = 64 << 10
# Characters that an error quotes of a feature in the schema, and of its values in the data.
_QUOTED = 200


def files_by_split(examples: Examples) -> Iterator[tuple[str | None, list[Path]]]:
    """Yield each declared split with its files; None with all files if splits are hashed."""
    for split, pattern in examples.patterns.items():
        found = (file for file in Path(examples.path).glob(pattern) if file.is_file() and file.stat().st_size)
        yield split, sorted(found)


def records_by_split(
    examples: Examples, feature_spec: Mapping[str, Any]
) -> Iterator[tuple[str | None, dict[Path, list[bytes]]]]:
    """Yield each split with the first records of its files; None with all files if splits are hashed.

    The task's `feature_spec` gives the types of CSV columns: the actual types are known only from all rows.

    Raises:
        DataError: A file can't be read.
        SpecError: The user's generator can't be called.
    """
    if isinstance(examples, MadeExamples):
        from components.ingest.parquet import to_example

        for split, place, rows in samples(examples):
            yield split, {place: [to_example(row).SerializeToString() for row in rows]}
        return
    classes = examples.classes if isinstance(examples, CsvExamples | ParquetExamples) else None
    # Until it is numbered, the label is text.
    types = {**feature_spec} if classes is None else {**feature_spec, examples.label: None}
    for split, files in files_by_split(examples):
        found = {file: first_records(file, examples.kind, types) for file in files}
        if classes is not None:
            found = {file: _numbered(records, examples.label, classes, file) for file, records in found.items()}
        yield split, {file: records for file, records in found.items() if records}


def _numbered(records: Sequence[bytes], label: str, classes: Sequence[str], file: Path) -> list[bytes]:
    import tensorflow as tf

    from components.ingest.classes import with_class_number

    try:
        parsed = [with_class_number(tf.train.Example.FromString(record), label, classes) for record in records]
    except DataError as error:
        raise error.placed(str(file)) from error
    return [example.SerializeToString() for example in parsed]


def first_records(file: Path, kind: str, feature_spec: Mapping[str, Any]) -> list[bytes]:
    """Read a file's first records, serialized. The `feature_spec` is as for `records_by_split`.

    Raises:
        DataError: The file can't be read.
    """
    try:
        if kind == "tfrecord":
            return _of_tfrecord(file)
        return _of_csv(file, feature_spec) if kind == "csv" else _of_parquet(file)
    except DataError as error:
        raise error.placed(str(file)) from error
    except Exception as error:
        raise DataError(
            f"the first records of this file cannot be read: {summary_line(error)}",
            where=str(file),
            bound=f"a {kind} file",
            remedy="write the file again, or correct the pattern",
        ) from error


def _of_tfrecord(file: Path) -> list[bytes]:
    import tensorflow as tf

    with file.open("rb") as content:
        compression = "GZIP" if content.read(2) == b"\x1f\x8b" else ""
    return [record.numpy() for record in tf.data.TFRecordDataset(str(file), compression_type=compression).take(_COUNT)]


def _of_parquet(file: Path) -> list[bytes]:
    import pyarrow.parquet

    from components.ingest.parquet import to_example

    with pyarrow.parquet.ParquetFile(file) as table:
        rows = [row for batch in islice(table.iter_batches(_COUNT), 1) for row in batch.to_pylist()]
    return [to_example(row).SerializeToString() for row in rows]


def _of_csv(file: Path, feature_spec: Mapping[str, Any]) -> list[bytes]:
    from components.ingest.parquet import to_example

    with file.open("rb") as content:
        table = TableReader(lines_of(content))
        rows = list(islice(with_names(table), _COUNT))
    _check_last_row(file, table)
    typed = [{name: _cell(text, feature_spec.get(name)) for name, text in row.items()} for row in rows]
    return [to_example(row).SerializeToString() for row in typed]


def _check_last_row(file: Path, table: TableReader) -> None:
    """Check that a file doesn't end within a row. Near quotes, rows can't be distinguished from lines."""
    with file.open("rb") as content:
        begins = max(0, file.stat().st_size - _TAIL_BYTES)
        content.seek(begins)
        lines = content.read(_TAIL_BYTES).rstrip(b"\r\n").split(b"\n")
    whole = lines if begins == 0 else lines[1:]
    quoted = any(b'"' in line for line in lines)
    if whole and not quoted and (found := whole[-1].count(table.separator.encode()) + 1) != table.width:
        raise DataError(
            "the last row of the file is cut off, or has columns other than those in the first line",
            bound=f"{table.width} cells",
            measured=found,
            remedy="copy or write the file again; quote cells that contain commas",
        )


def _cell(text: str, declared: Any) -> Any:
    import tensorflow as tf

    if not text:
        return None
    dtype = getattr(declared, "dtype", tf.string)
    # A value of a different type than declared keeps its own type, so that parsing reports it.
    if dtype.is_integer:
        with suppress(ValueError, OverflowError):
            return np.int64(int(text))
    if dtype.is_integer or dtype.is_floating:
        with suppress(ValueError):
            return float(text)
    return text.encode()


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
    for split, files in records_by_split(examples, types):
        records = [record for each in files.values() for record in each]
        if records:
            _compare(schema, records, path, f"split {split!r}" if split else "examples")


def _of_each_record(schema: Any) -> Any:
    """Keep the schema's constraints on single records. A few records can't show totals."""
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
    """Map features to the schema's types. CSV cells get these types if they can be parsed as such."""
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
        return  # Reported when the task's features are parsed.
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
        else one_of(sorted(feature.name for feature in schema.feature)),
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
