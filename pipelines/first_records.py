"""The first records of the example files, as the tf.Examples that ExampleGen makes of them. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from components.errors import DataError, telling_line
from pipelines.spec import DeclaredSplits, Examples

# Enough to see what every record has wrong, and few enough for models that are slow.
_COUNT = 4


def files_by_split(examples: Examples) -> Iterator[tuple[str | None, list[Path]]]:
    """The files by declared split; under None where splits are hashed."""
    splits = examples.splits
    patterns: Mapping[Any, str] = splits.patterns if isinstance(splits, DeclaredSplits) else {None: splits.pattern}
    for split, pattern in patterns.items():
        yield (
            split,
            sorted(file for file in Path(examples.path).glob(pattern) if file.is_file() and file.stat().st_size),
        )


def first_records(file: Path, kind: str, feature_spec: Mapping[str, Any]) -> list[bytes]:
    """A file's first records, serialized.

    Args:
        file: Of the examples.
        kind: `tfrecord`, `csv` or `parquet`.
        feature_spec: The task's. What a CSV column holds is known when all of it is read; until then the task is right.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        if kind == "tfrecord":
            return _of_tfrecord(file)
        return _of_csv(file, feature_spec) if kind == "csv" else _of_parquet(file)
    except DataError as error:
        raise error.placed(str(file)) from error
    except Exception as error:
        raise DataError(
            f"the first records of this file cannot be read: {telling_line(error)}",
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
    import pandas as pd
    import tensorflow as tf

    rows = pd.read_csv(file, nrows=_COUNT, dtype=str, keep_default_na=False, encoding_errors="replace")
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={str(name): _cell(text, feature_spec.get(name)) for name, text in row.items()}
            )
        ).SerializeToString()
        for row in rows.to_dict("records")
    ]


def _cell(text: str, declared: Any) -> Any:
    import tensorflow as tf

    if not text:
        return tf.train.Feature()
    dtype = getattr(declared, "dtype", tf.string)
    try:
        if dtype.is_integer:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(text)]))
        if dtype.is_floating:
            return tf.train.Feature(float_list=tf.train.FloatList(value=[float(text)]))
    except ValueError:
        pass  # Of another type than declared: parsing says so.
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
