"""The sequence form is not larger than the float file, unless the recipe asks for it."""

import re
from pathlib import Path
from typing import Any

import pytest

from components.convert.aeq.float_weights import float_file
from components.convert.compaction import compacted
from components.convert.recurrent.backend import convert_lowered
from components.convert.recurrent.size import no_larger_sequence, refuse_larger
from components.convert.result import ConversionResult
from components.core.errors import ConversionError, ModelError
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import export, save_keras
from components.spec.scheme import Form, StaticWi8Ai8
from tests.components.cells.conftest import *  # noqa: F403 - fixtures


def test_sequence_form_larger_than_the_float_file_is_refused_with_the_size_of_the_streaming_form(
    make_model: Any, sequences: Any, tmp_path: Path
) -> None:
    model = make_model("gru")
    save_keras(model, tmp_path)
    export(model, tmp_path)

    def convert(form: Form) -> ConversionResult:
        examples = iter([({"x": one[None]}, {}) for one in sequences])
        return convert_lowered(tmp_path, StaticWi8Ai8(), form, examples, tmp_path / form, lambda _: None)

    reference = compacted(float_file(tmp_path / SERVING_FOLDER))
    with pytest.raises(ConversionError) as caught:
        no_larger_sequence(convert, lambda: reference, lambda _: None)
    assert f"at most {len(reference):,} bytes, the float file" in str(caught.value)
    figure = re.search(
        r"use `recurrent: streaming`, whose file has one time step and ([\d,]+) bytes", str(caught.value)
    )
    assert figure is not None
    assert int(figure.group(1).replace(",", "")) < len(reference)


def test_file_that_is_not_larger_is_taken() -> None:
    refuse_larger(13_216, 13_216, pytest.fail)


def test_model_without_streaming_form_gets_other_advice() -> None:
    def streaming() -> int:
        raise ModelError("a backward layer needs the whole sequence", remedy="use `recurrent: sequence`")

    with pytest.raises(ConversionError) as caught:
        refuse_larger(94_720, 13_216, streaming)
    assert "(expected: at most 13,216 bytes, the float file; found: 94,720 bytes)" in str(caught.value)
    assert "because there is no streaming form (a backward layer needs the whole sequence)" in caught.value.remedy
