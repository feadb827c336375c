"""The sequence form is not larger than the float file, unless the recipe asks for it."""

import pytest

from components.convert.recurrent.size import refuse_larger
from components.core.errors import ConversionError, ModelError


def test_sequence_form_larger_than_the_float_file_is_refused_with_the_size_of_the_streaming_form() -> None:
    with pytest.raises(ConversionError) as caught:
        refuse_larger(94_720, 13_216, lambda: 5_344)
    assert "(expected: at most 13,216 bytes, the float file; found: 94,720 bytes)" in str(caught.value)
    assert "use `recurrent: streaming`, whose file has one time step and 5,344 bytes" in caught.value.remedy
    refuse_larger(13_216, 13_216, pytest.fail)


def test_model_without_streaming_form_gets_other_advice() -> None:
    def streaming() -> int:
        raise ModelError("a backward layer needs the whole sequence", remedy="use `recurrent: sequence`")

    with pytest.raises(ConversionError) as caught:
        refuse_larger(94_720, 13_216, streaming)
    assert "because there is no streaming form (a backward layer needs the whole sequence)" in caught.value.remedy
