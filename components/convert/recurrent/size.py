"""Compares the sequence form of recurrent layers with the float file: each time step adds operators."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable

import numpy as np

from components.convert.result import ConversionResult
from components.core.errors import ConversionError, EdgemillError
from components.spec.scheme import Form

_LOG = logging.getLogger(__name__)
# Examples on which a loop must compute the integers of the unrolled time steps.
_EXAMPLES = 4
# Bytes of a float.
_FLOAT = 4


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

    made = with_loops(convert("sequence"), enter)
    enter("comparing the size with the float file")
    refuse_larger(
        len(compacted(made.content)),
        len(compacted(float_file())),
        lambda: len(compacted(convert("streaming").content)),
    )
    return made


def with_loops(made: ConversionResult, enter: Callable[[str], None]) -> ConversionResult:
    """Replace unrolled time steps with loops if the file is larger than its float weights would be.

    The loops compute the same integers. A file with few time steps stays unrolled, because any accelerator can run it.

    Args:
        made: A file in the sequence form.
        enter: Names the stage of the conversion.
    """
    enter("comparing the size with the float weights")
    encode = made.encode_sparse
    return dataclasses.replace(
        made, content=_looped(made.content), encode_sparse=None if encode is None else lambda: _looped(encode())
    )


def _looped(content: bytes) -> bytes:
    from components.convert.compaction import compacted
    from components.convert.recurrent.loop import looped
    from components.model.tflite_file import inspect_model

    weights = sum(math.prod(weight.shape) * _FLOAT for weight in inspect_model(content).weights)
    if len(compacted(content)) <= weights:
        return content
    loop = looped(content)
    if loop is None:
        return content
    if not _same_integers(content, loop):
        _LOG.warning("A loop over the time steps would compute different integers, so they stay unrolled.")
        return content
    return loop


def _same_integers(first: bytes, second: bytes) -> bool:
    """Whether two files with the same signature return the same outputs, with the kernels that round consistently."""
    from components.upstream.tflite.interpreter import interpreter

    random = np.random.default_rng(0)
    runners = [interpreter(content, delegates=False).get_signature_runner() for content in (first, second)]
    details = runners[0].get_input_details()
    for _ in range(_EXAMPLES):
        inputs = {}
        for name, detail in details.items():
            shape, kind = detail["shape"], detail["dtype"]
            values = random.normal(size=shape) if np.dtype(kind).kind == "f" else random.integers(0, 2, shape)
            if detail["quantization"][0]:
                values = random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True)
            inputs[name] = values.astype(kind)
        returned = [runner(**inputs) for runner in runners]
        if any(not np.array_equal(returned[0][name], returned[1][name]) for name in returned[0]):
            return False
    return True


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
        "the recurrent layers over the sequence are larger than the float file",
        where="recurrent",
        bound=f"at most {reference:,} bytes, the float file",
        measured=f"{sequence:,} bytes",
        remedy=f"{instead}; to get this file anyway, write `recurrent: sequence`",
    )
