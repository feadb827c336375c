import decimal

import numpy as np
import pytest
import tensorflow as tf

from components.core.errors import DataError
from components.ingest.parquet import to_example


def feature(value: object) -> tf.train.Feature:
    return to_example({"x": value}).features.feature["x"]


@pytest.mark.parametrize("value", [0, False, np.int32(0), -7, 2**40])
def test_integers_are_kept_zero_included(value: int) -> None:
    assert list(feature(value).int64_list.value) == [int(value)]


@pytest.mark.parametrize("value", [0.0, -1.5, np.float32(0.25)])
def test_floats_are_kept_zero_included(value: float) -> None:
    assert list(feature(value).float_list.value) == [value]


def test_not_a_number_stays_one() -> None:
    assert np.isnan(feature(float("nan")).float_list.value[0])


@pytest.mark.parametrize(("value", "held"), [("", b""), ("ä", "ä".encode()), (b"\xff\x00", b"\xff\x00")])
def test_texts_and_bytes_are_kept(value: object, held: bytes) -> None:
    assert list(feature(value).bytes_list.value) == [held]


def test_lists_become_several_values() -> None:
    assert list(feature([0, 1, 2]).int64_list.value) == [0, 1, 2]
    np.testing.assert_array_equal(feature(np.zeros(3)).float_list.value, np.zeros(3))


@pytest.mark.parametrize("value", [None, []])
def test_missing_value_is_a_feature_without_values(value: object) -> None:
    assert feature(value).WhichOneof("kind") is None


def test_other_type_is_reported_with_its_column() -> None:
    with pytest.raises(DataError, match=r"feature x: a feature has a type that tf\.Example does not .*Decimal"):
        feature(decimal.Decimal(1))
