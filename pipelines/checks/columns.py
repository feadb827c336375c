"""Checks that CSV and Parquet files have the columns that the pipeline file names. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from components.core.errors import DataError, summary_line
from components.core.files import is_file, is_folder
from pipelines.file.spec import CsvExamples, DeclaredSplits, HashedSplits, ParquetExamples, PipelineSpec

# Files per pattern whose columns are read. This takes a second or two.
_MOST_FILES = 1000
# Limit for a header line, so that a file without line breaks isn't read completely.
_MOST_CHARACTERS = 1 << 24
# Columns listed in an error, and the characters shown of each.
_MOST_NAMED, _MOST_SHOWN = 20, 40


def column_errors(spec: PipelineSpec) -> Iterator[DataError]:
    """Yield an error for each missing column, and for header lines that TFX refuses.

    TFRecord files have no header; the dry run decodes them.
    """
    examples = spec.examples
    if not isinstance(examples, CsvExamples | ParquetExamples) or "://" in examples.path:
        return
    folder, splits = Path(examples.path), examples.splits
    patterns = splits.patterns if isinstance(splits, DeclaredSplits) else {None: splits.pattern}
    reported: set[str] = set()
    for split, pattern in patterns.items():
        columns: dict[Path, tuple[str, ...]] = {}
        for file in islice(_files(folder, pattern), _MOST_FILES):
            try:
                columns[file] = _of_csv(file) if examples.kind == "csv" else _of_parquet(file)
            except Exception as error:
                yield DataError(
                    f"the columns of this file cannot be read: {summary_line(error)}",
                    where=str(file),
                    bound=f"a {examples.kind} file",
                    remedy="write the file again, or correct the pattern",
                )
                return
        for column, field in _named(spec, split).items():
            lacking = [file for file, held in columns.items() if column not in held]
            if lacking and column not in reported:
                reported.add(column)
                yield _missing(column, field, lacking, columns[lacking[0]], len(columns), csv=examples.kind == "csv")
        if examples.kind == "csv" and not reported:
            yield from _different(columns, split or "all")


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the nonempty files that TFX reads. It skips hidden files."""
    if is_folder(folder):
        for file in sorted(folder.glob(pattern)):
            if is_file(file) and not file.name.startswith(".") and file.stat().st_size:
                yield file


def _named(spec: PipelineSpec, split: str | None) -> dict[str, str]:
    """Map the columns that a split must have to the fields that name them. The split None means all hashed splits."""
    columns = {spec.examples.label: "examples.label"}
    if isinstance(spec.examples.splits, HashedSplits) and spec.examples.splits.feature:
        columns.setdefault(spec.examples.splits.feature, "examples.splits.feature")
    # A preprocessing function can create all other columns.
    if spec.preprocess is None:
        if split in {None, spec.evaluate.split}:
            own = {name for names in spec.evaluate.slices for name in names}
            for name in (name for names in spec.slices() for name in names):
                columns.setdefault(name, "evaluate.slices" if name in own else "gate.metrics")
        sample = spec.calibrate if any(recipe.needs_calibration for recipe in spec.recipes) else None
        if sample is not None and sample.stratify_by and split in {None, sample.split}:
            columns.setdefault(sample.stratify_by, "calibrate.stratify_by")
    return columns


def _of_csv(file: Path) -> tuple[str, ...]:
    # Same parsing as `tfx.utils.io_utils.load_csv_column_names`: quotes and spaces are part of a name.
    with file.open(encoding="utf-8", errors="replace") as lines:
        return tuple(lines.readline(_MOST_CHARACTERS).strip().split(","))


def _of_parquet(file: Path) -> tuple[str, ...]:
    import pyarrow.parquet

    return tuple(pyarrow.parquet.read_schema(file).names)


def _missing(
    column: str, field: str, lacking: Sequence[Path], held: Sequence[str], files: int, *, csv: bool
) -> DataError:
    near = next((name for name in held if name.strip("\ufeff\"' ") == column), None)
    if near is not None:
        remedy = f"write {column} instead of {near!r} there: TFX keeps quotes, spaces, and byte order marks"
    elif csv:
        remedy = f"correct {field}, or write the name into the header, the first line of each file"
    else:
        remedy = f"correct {field}, or write the files with this column"
    return DataError(
        f"the examples have no column {column!r}",
        where=field,
        bound=f"{column!r} in each {'header line' if csv else 'file'}",
        measured=f"{_shown(held)} in {lacking[0]}"
        + (f"; {len(lacking)} of {files} files lack it" if files > 1 else ""),
        remedy=remedy,
    )


def _different(columns: dict[Path, tuple[str, ...]], split: str) -> Iterator[DataError]:
    first = next(iter(columns), None)
    other = next((file for file, held in columns.items() if held != columns[first]), None) if first else None
    if first is not None and other is not None:
        yield DataError(
            f"CSV files of one split ({split}) have different header lines, which TFX refuses",
            where=str(other),
            bound=f"{_shown(columns[first])}, as in {first}",
            measured=_shown(columns[other]),
            remedy="write the same columns in the same order into each file, or narrow the pattern",
        )


def _shown(columns: Sequence[str]) -> str:
    names = ", ".join(name[:_MOST_SHOWN] for name in columns[:_MOST_NAMED])
    return names + (f" and {len(columns) - _MOST_NAMED} more" if len(columns) > _MOST_NAMED else "")
