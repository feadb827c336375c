"""Compares the sequence form of recurrent layers with the float file: each time step adds operators."""

from __future__ import annotations

from collections.abc import Callable

from components.convert.result import ConversionResult
from components.core.errors import ConversionError, EdgemillError
from components.spec.scheme import Form


def no_larger_sequence(
    convert: Callable[[Form], ConversionResult], float_file: Callable[[], bytes], enter: Callable[[str], None]
) -> ConversionResult:
    """Convert in the sequence form, unless that file is larger than the float file.

    Args:
        convert: Converts in a form.
        float_file: Returns the float file.
        enter: Names the stage of the conversion.

    Raises:
        ConversionError: `refuse_larger` refuses the file, or the conversion fails.
    """
    from components.convert.compaction import compacted

    made = convert("sequence")
    enter("comparing the size with that of the float file")
    refuse_larger(
        len(compacted(made.content)),
        len(compacted(float_file())),
        lambda: len(compacted(convert("streaming").content)),
    )
    return made


def refuse_larger(sequence: int, reference: int, streaming: Callable[[], int]) -> None:
    """Refuse a file in the sequence form that is larger than the float file.

    Args:
        sequence: Bytes of the file.
        reference: Bytes of the float file.
        streaming: Returns the bytes of the file in the streaming form, or raises an error that says why not.

    Raises:
        ConversionError: It is larger. The message has the sizes of all three files.
    """
    if sequence <= reference:
        return
    try:
        instead = f"use `recurrent: streaming`, whose file has one time step and {streaming():,} bytes"
    except EdgemillError as error:
        instead = f"use dynamic_wi8_afp32 or float16, because there is no streaming form ({error.what})"
    raise ConversionError(
        "the recurrent layers unrolled over the sequence are larger than the float file",
        where="recurrent",
        bound=f"at most {reference:,} bytes, the float file",
        measured=f"{sequence:,} bytes",
        remedy=f"{instead}; to get this file anyway, write `recurrent: sequence`",
    )
