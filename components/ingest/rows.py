"""Converts a source to rows of features, which `components.ingest.parquet.to_example` turns into tf.Examples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typing_extensions import assert_never

from components.core.errors import DataError, counted, some_of
from components.ingest.arrays import generated, open_arrays, rows_of
from components.ingest.listing import Item, class_number, items, number
from components.ingest.media import decode_audio, decode_image
from components.ingest.sources import matching
from components.spec.examples import AUDIO, IMAGE, ArraySource, AudioSource, GeneratorSource, ImageSource, MadeSplits

_MOST_NAMED = 20


def row_of(item: Item, made: MadeSplits) -> dict[str, Any]:
    """The features of a file's example.

    Raises:
        UnreadableError: The file can't be decoded.
        DataError: The label or the sample rate is wrong.
    """
    source = made.source
    content = (
        {IMAGE: decode_image(item.file, source).tobytes()}
        if isinstance(source, ImageSource)
        else {AUDIO: decode_audio(item.file, source).tobytes()}
        if isinstance(source, AudioSource)
        else {}
    )
    return {**item.columns, **content} | ({made.label: item.label} if made.label else {})


def labeled(row: dict[str, Any], made: MadeSplits) -> dict[str, Any]:
    """The same row with the label as a number, if it is the name of a class or a number as text.

    Raises:
        DataError: It is neither.
    """
    label, classes = row.get(made.label), made.source.classes
    if classes is not None and label is not None:
        return {**row, made.label: class_number(label, classes, f"feature {made.label!r}")}
    if isinstance(label, str) and (found := number(label)) is not None:
        return {**row, made.label: found}
    return row


def rows(made: MadeSplits, folder: Path, split: str, pattern: str, *, hashed: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of arrays or of a function. Raises the same errors as `open_arrays` and `generated`."""
    match made.source:
        case ArraySource() as source:
            yield from rows_of(open_arrays(source, matching(folder, [pattern]), split, made.label))
        case GeneratorSource() as source:
            yield from generated(source, None if hashed else split)
        case ImageSource() | AudioSource() as source:
            yield from (row_of(item, made) for item in items(source, made.label, folder, pattern))
        case _:
            assert_never(made.source)


def check_share(unreadable: list[str], count: int, most: float) -> None:
    """Check the share of files that can't be decoded.

    Args:
        unreadable: The files, with their errors.
        count: How many files were read.
        most: The largest share.

    Raises:
        DataError: It is larger.
    """
    if len(unreadable) > most * count:
        raise DataError(
            f"{counted(len(unreadable), 'file')} cannot be decoded: {some_of(sorted(unreadable), _MOST_NAMED)}",
            where="examples.path",
            bound=f"at most {most * count:g} of {counted(count, 'file')} (examples.max_unreadable: {most:g})",
            measured=f"{len(unreadable)}, {len(unreadable) / count:.1%}",
            remedy="copy these files again or remove them, or set examples.max_unreadable to leave them out",
        )
