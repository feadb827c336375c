"""Recognizes columns of Parquet tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError, counted, some_of, summary_line
from edgemill.project.found import Data, Options, chosen_columns
from edgemill.project.unclear import UnclearError


def of_parquet(folder: Path, splits: dict[str, Any], files: Sequence[Path], options: Options) -> Data:
    """Recognize the columns of Parquet tables. Raises a DataError for missing values and for types without numbers."""
    from pyarrow import types

    tables = [parquet_table(file) for file in files]
    label, columns = chosen_columns(tables[0].column_names, options)
    wanted = [*columns, label]
    if other := next(
        (file for file, table in zip(files, tables, strict=True) if not {*wanted} <= {*table.column_names}), None
    ):
        raise DataError(
            "the tables have different columns",
            where=str(other),
            bound=", ".join(wanted),
            remedy="give all tables the same columns",
        )
    kinds = {name: tables[0].schema.field(name).type for name in wanted}
    if empty := {name: count for name in wanted if (count := sum(_missing_in(table[name]) for table in tables))}:
        raise DataError(
            f"columns have missing values: {', '.join(f'{name} ({count})' for name, count in empty.items())}",
            where=", ".join(map(str, files)),
            bound=f"a finite value in each of {counted(sum(map(len, tables)), 'row')}",
            remedy="fill in the values or remove the rows, or choose other columns with --columns",
        )
    text = types.is_string(kinds[label]) or types.is_large_string(kinds[label])
    if wrong := [name for name in wanted if not (_numeric(kinds[name]) or (name == label and text))]:
        raise UnclearError(
            f"columns hold no numbers: {some_of(wrong)}",
            option="label" if wrong == [label] else "columns",
            question="Which column is the label?" if wrong == [label] else "Which columns are the input, in its order?",
            default="" if wrong == [label] else ",".join(name for name in columns if name not in wrong),
            bound="integers, floats, or booleans; for the label also text",
            measured=", ".join(f"{name}: {kinds[name]}" for name in wrong),
            remedy="choose the columns of the input with --columns, or write numbers as in the training of the model",
        )
    classes = {each for table in tables for each in table[label].unique().to_pylist()} if text else ()
    return Data.model_validate(
        {"kind": "parquet", "folder": folder, "label": label, "classes": tuple(sorted(classes)),
         "label_type": "float32" if types.is_floating(kinds[label]) else "int64",
         "columns": {name: "float32" if types.is_floating(kinds[name]) else "int64" for name in columns},
         "splits": splits, "count": sum(map(len, tables))}
    )  # fmt: skip


def parquet_table(file: Path) -> Any:
    """The content of a Parquet file, a `pyarrow.Table`. Raises a DataError if it can't be read, or has no rows."""
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.ParquetFile(file).read()
    except (ArrowException, OSError) as error:
        raise DataError(
            "this is not a Parquet file, or it is damaged",
            where=str(file),
            measured=summary_line(error),
            remedy="write it again",
        ) from error
    if not len(table):
        raise DataError("the table has no rows", where=str(file), remedy="write rows")
    return table


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _missing_in(column: Any) -> int:
    from pyarrow import types

    if not types.is_floating(column.type):
        return int(column.null_count)
    return int((~np.isfinite(column.to_numpy())).sum())
