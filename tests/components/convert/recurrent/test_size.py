"""The sequence form is not larger than the float file, unless the recipe asks for it."""

from functools import cache
from typing import Any

import pytest

from components.convert.aeq.float_weights import float_file
from components.convert.compaction import compacted
from components.convert.recurrent.backend import convert_lowered
from components.convert.recurrent.size import no_larger_sequence, refuse_larger, with_loops
from components.convert.result import ConversionResult
from components.core.errors import ConversionError, ModelError
from components.facts.artifact_paths import SERVING_FOLDER
from components.model.keras_model import export, save_keras
from components.model.tflite_file import inspect_model
from components.spec.scheme import Form, StaticWi8Ai8
from tests.components.cells.conftest import *  # noqa: F403 - fixtures


@pytest.fixture(scope="module")
def conversions(make_model: Any, sequences: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Convert a GRU in a form, and the bytes of its float file."""
    folder = tmp_path_factory.mktemp("gru")
    model = make_model("gru")
    save_keras(model, folder)
    export(model, folder)

    @cache
    def convert(form: Form) -> ConversionResult:
        examples = iter([({"x": one[None]}, {}) for one in sequences])
        return convert_lowered(folder, StaticWi8Ai8(), form, examples, folder / form, lambda _: None)

    return convert, compacted(float_file(folder / SERVING_FOLDER))


def test_time_steps_larger_than_the_float_file_become_a_loop(conversions: Any) -> None:
    convert, reference = conversions
    assert len(compacted(convert("sequence").content)) > len(reference)
    made = no_larger_sequence(convert, lambda: reference, lambda _: None)
    assert len(compacted(made.content)) <= len(reference)
    assert "WHILE" in {use.name for use in inspect_model(made.content).operators}
    assert made.encode_sparse is not None
    assert "WHILE" in {use.name for use in inspect_model(made.encode_sparse()).operators}


def test_few_time_steps_of_many_weights_stay_unrolled(conversions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, _ = conversions
    monkeypatch.setattr("components.convert.recurrent.size._FLOAT", 400)
    assert with_loops(convert("sequence"), lambda _: None).content == convert("sequence").content


def test_sequence_form_larger_than_the_float_file_is_refused_with_the_size_of_the_streaming_form(
    conversions: Any,
) -> None:
    convert, _ = conversions
    reference = bytes(compacted(convert("streaming").content))
    with pytest.raises(ConversionError) as caught:
        no_larger_sequence(convert, lambda: reference, lambda _: None)
    assert f"at most {len(reference):,} bytes, the float file" in str(caught.value)
    assert f"use `recurrent: streaming`, whose file has one time step and {len(reference):,} bytes" in str(caught.value)


def test_file_that_is_not_larger_is_taken() -> None:
    refuse_larger(13_216, 13_216, pytest.fail)


def test_model_without_streaming_form_gets_other_advice() -> None:
    def streaming() -> int:
        raise ModelError("a backward layer needs the whole sequence", remedy="use `recurrent: sequence`")

    with pytest.raises(ConversionError) as caught:
        refuse_larger(94_720, 13_216, streaming)
    assert "(expected: at most 13,216 bytes, the float file; found: 94,720 bytes)" in str(caught.value)
    assert "because there is no streaming form (a backward layer needs the whole sequence)" in caught.value.remedy
