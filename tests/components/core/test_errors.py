import pickle

import pytest

from components.core.errors import DataError, EdgemillError, SpecError, summary_line


def test_error_reports_place_bound_measured_value_and_fix() -> None:
    error = SpecError("too many", where="a.b", bound=3, measured=0, remedy="use fewer")
    assert str(error) == "a.b: too many (expected: 3; found: 0). Remedy: use fewer"


def test_error_without_figures_reports_what_and_fix() -> None:
    assert str(SpecError("it is wrong", remedy="fix it")) == "it is wrong. Remedy: fix it"


@pytest.mark.parametrize("kind", [SpecError, DataError])
def test_error_survives_pickling(kind: type[EdgemillError]) -> None:
    error = kind("bad", where="there", bound="x", measured=2.5, remedy="fix it")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.measured) == (kind, str(error), 2.5)


IN_USER_CODE = """in user code:

    File "training.py", line 1401, in train_function  *
        return step_function(self, iterator)

    ValueError: Shapes (None, 1) and (None, 3) are incompatible
"""
IN_LAYER = """Exception encountered when calling layer "first" (type Conv2D).

Value for attr 'T' of uint8 is not in the list of allowed values [Op:Conv2D]

Call arguments received by layer "first" (type Conv2D):
  \u2022 inputs=tf.Tensor(shape=(None, 4, 4, 1), dtype=uint8)
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "ValueError"),
        ("one\ntwo", "one"),
        ("Error parsing message..", "Error parsing message"),
        ("Cannot parse file b'/a/b.pb': Error parsing message.", "Cannot parse file '/a/b.pb': Error parsing message"),
        ("expected a path, not <tf.python.io.GFile object at 0x7f01ab>", "expected a path, not a GFile"),
        ("and so on...", "and so on..."),
        (IN_USER_CODE, "Shapes (None, 1) and (None, 3) are incompatible"),
        (
            IN_LAYER,
            'Exception encountered when calling layer "first" (type Conv2D): '
            "Value for attr 'T' of uint8 is not in the list of allowed values",
        ),
    ],
)
def test_line_of_another_librarys_error_is_the_one_with_the_cause(text: str, line: str) -> None:
    assert summary_line(ValueError(text)) == line


def test_error_of_the_operating_system_has_no_number() -> None:
    error = FileNotFoundError(2, "No such file or directory", "nosuch/model.tflite")
    assert summary_line(error) == "No such file or directory: nosuch/model.tflite"
