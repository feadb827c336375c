import numpy as np
import pytest

from components.calibrate.survey import BINS, survey_input


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float16", "float32"])
def test_inputs_of_every_number_type_are_surveyed(dtype):
    found = survey_input(np.array([[0, 3], [7, 120]], dtype), 0.0, 64.0)

    assert (found.low, found.high, found.not_finite) == (0.0, 120.0, 0)
    assert found.histogram.sum() == 4
    assert found.histogram[[0, 3, 7, BINS - 1]].tolist() == [1, 1, 1, 1]


@pytest.mark.filterwarnings("error")
def test_booleans_are_surveyed():
    found = survey_input(np.array([True, False, True]), 0.0, 1.0)

    assert (found.low, found.high) == (0.0, 1.0)
    assert found.histogram[[0, BINS - 1]].tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_input_without_values_has_no_range(dtype):
    found = survey_input(np.array([], dtype), 0.0, 1.0)

    assert (found.low, found.high, found.not_finite) == (np.inf, -np.inf, 0)


def test_values_that_are_not_finite_are_counted_and_left_out():
    found = survey_input(np.array([np.nan, 1, np.inf], np.float32), 0.0, 2.0)

    assert (found.low, found.high, found.not_finite) == (1.0, 1.0, 2)
    assert survey_input(np.array([np.nan, np.inf]), 0.0, 2.0).low == np.inf
