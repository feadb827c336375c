import pytest

from components.core.errors import DataError
from pipelines.runs.run import explain


def test_our_error_is_found_among_causes() -> None:
    ours = DataError("bad data", where="examples", remedy="fix it")
    try:
        try:
            raise ours
        except DataError as error:
            raise RuntimeError("wrapped [while running 'step']") from error
    except RuntimeError as error:
        assert explain(error) == str(ours)


def test_our_error_is_found_in_the_text_that_beam_makes_of_it() -> None:
    text = f"Traceback ...\ncomponents.errors.DataError: {DataError('bad', remedy='fix it')}\n\nwhile running"
    assert explain(RuntimeError(text)) == "bad. Remedy: fix it"


def test_damaged_tfrecord_beyond_the_preflight_is_reported_with_a_fix() -> None:
    said = explain(ValueError("Not a valid TFRecord. Fewer than 8 bytes: b'x' [while running 'read']"))
    assert said.startswith("examples.path: a TFRecord file is truncated or damaged")
    assert "gzip --test" in said


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("one\ntwo")])
def test_other_error_is_reported_with_its_type(error: Exception) -> None:
    assert explain(error).startswith(type(error).__name__)
