"""Recognizes columns of Parquet tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError, summary_line
from edgemill.project.found import Data, Options, chosen_columns, refuse_labels, refuse_one_label
from edgemill.project.numbered import numbers_in
from edgemill.project.unclear import UnclearError
from edgemill.project.unusable import Unusable, refuse


def of_parquet(folder: Path, splits: dict[str, Any], files: Sequence[Path], options: Options) -> Data:
    """Recognize the columns of Parquet tables.

    Raises:
        DataError: The label, or a column that the user chose, has missing values.
        UnclearError: There is no column of numbers, or a column that the user chose contains something other than
            numbers.
    """
    from pyarrow import types

    tables = [parquet_table(file) for file in files]
    labels, columns = chosen_columns(tables[0].column_names, options)
    label = labels[0]
    wanted = [*columns, *labels]
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
    where, count = ", ".join(map(str, files)), sum(map(len, tables))
    missing = {name: sum(_missing_in(table[name]) for table in tables) for name in wanted}
    refuse({name: _lacking(missing[name]) for name in labels if missing[name]}, (), where, count, label=True)
    text = types.is_string(kinds[label]) or types.is_large_string(kinds[label])
    if not (_numeric(kinds[label]) or text):
        raise UnclearError(
            f"the label contains neither numbers nor text: {label}",
            option="label",
            question="Which column is the label?",
            bound="integers, floats, booleans, or text",
            measured=str(kinds[label]),
            remedy="choose another column with --label",
        )
    unusable = {name: Unusable(reason="text", measured=str(kinds[name])) for name in columns
                if not _numeric(kinds[name])}  # fmt: skip
    unusable |= {name: _lacking(missing[name]) for name in columns if missing[name] and name not in unusable}
    usable = [name for name in columns if name not in unusable]
    if options.columns or not usable:
        refuse(unusable, usable, where, count)
    facts = {
        "kind": "parquet", "folder": folder, "unusable": unusable, "splits": splits, "count": count,
        "columns": {name: _stored(kinds[name]) for name in usable},
    }  # fmt: skip
    if len(labels) > 1:
        held = {name: {each for table in tables for each in table[name].unique().to_pylist()} for name in labels}
        wrong = (f"{name}: {next(iter(found - {0, 1}))!r}" for name, found in held.items() if not found <= {0, 1})
        text = (f"{name}: {kinds[name]}" for name in labels if not _numeric(kinds[name]))
        refuse_labels(next(text, ""), where)
        return Data.model_validate(
            {**facts, "label": "", "labels": {name: _stored(kinds[name]) for name in labels},
             "not_binary": next(wrong, "")}
        )  # fmt: skip
    distinct = {each for table in tables for each in table[label].unique().to_pylist()}
    refuse_one_label(distinct, label, where, count)
    classes = distinct if text else ()
    return Data.model_validate(
        {**facts, "label": label, "classes": tuple(sorted(classes)), "label_type": _stored(kinds[label]),
         "numbers": () if text else numbers_in(distinct)}
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


def _lacking(missing: int) -> Unusable:
    return Unusable(reason="missing values", measured=f"{missing} null or not finite", missing=missing)


def _stored(kind: Any) -> str:
    """The type of a column's values in examples. Text of a label becomes the number of its class."""
    from pyarrow import types

    return "float32" if types.is_floating(kind) else "int64"


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _missing_in(column: Any) -> int:
    from pyarrow import types

    if not types.is_floating(column.type):
        return int(column.null_count)
    return int((~np.isfinite(column.to_numpy())).sum())
