import pickle

import pytest

from components.errors import DataError, EdgemillError, SpecError


def test_error_tells_place_bound_measured_value_and_remedy() -> None:
    error = SpecError("too many", where="a.b", bound=3, measured=0, remedy="use fewer")
    assert str(error) == "a.b: too many (expected: 3; found: 0). Remedy: use fewer"


def test_error_without_figures_tells_what_and_remedy() -> None:
    assert str(SpecError("it is wrong", remedy="mend it")) == "it is wrong. Remedy: mend it"


@pytest.mark.parametrize("kind", [SpecError, DataError])
def test_error_survives_pickling(kind: type[EdgemillError]) -> None:
    error = kind("bad", where="there", bound="x", measured=2.5, remedy="mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.measured) == (kind, str(error), 2.5)
