"""Which columns or arrays each input of a model takes."""

from typing import Any

import numpy as np
import pytest

from components.core.errors import DataError, EdgemillError
from edgemill.project.found import Data, Options
from edgemill.project.inputs import ModelInput, match, with_ranges
from edgemill.project.unusable import Unusable


def data(kind: str, *columns: str) -> Data:
    found = {"kind": kind, "folder": "f", "columns": dict.fromkeys(columns, "float32"), "splits": {}, "count": 3}
    return Data.model_validate(found)


def inputs(**shapes: tuple[int | None, ...]) -> dict[str, ModelInput]:
    return {name: ModelInput(shape=shape, dtype="float32") for name, shape in shapes.items()}


def matched(found: Data, model: dict[str, ModelInput], *columns: str) -> dict[str, list[str]]:
    _, planned = match(found, model, Options(columns=columns))
    return {name: list(each.features) for name, each in planned.items()}


def test_arrays_go_to_the_inputs_of_their_names_or_in_the_order_that_the_user_says() -> None:
    model = inputs(image=(4, 4), age=(1,))
    assert matched(data("arrays", "age", "id", "image"), model) == {"image": ["image"], "age": ["age"]}
    assert matched(data("arrays", "p", "q"), model, "p", "q") == {"image": ["p"], "age": ["q"]}
    assert matched(data("arrays", "x"), inputs(input_1=(3,))) == {"input_1": ["x"]}


def test_columns_go_to_the_inputs_of_their_names_or_in_their_order() -> None:
    scalars = inputs(b=(1,), a=())
    assert matched(data("csv", "a", "b", "other"), scalars) == {"b": ["b"], "a": ["a"]}
    assert matched(data("csv", "a", "b"), inputs(b=(1,))) == {"b": ["b"]}
    wide = inputs(a=(2,), b=(1,))
    assert matched(data("csv", "a", "b", "c"), wide) == {"a": ["a", "b"], "b": ["c"]}


TEXT = Unusable(reason="text", measured="'red' in row 1")
EMPTY = Unusable(reason="missing values", measured="'' in row 1", missing=1)


@pytest.mark.parametrize(
    ("model", "unusable", "refused"),
    [
        (inputs(b=(1,), a=()), {"name": TEXT, "c": EMPTY}, ""),
        (inputs(x=(2,)), {"name": TEXT}, ""),
        (inputs(x=(2,)), {"name": TEXT, "c": EMPTY}, "missing values: c"),
        (inputs(x=(3,)), {"name": TEXT}, "other than numbers: name .*'red'"),
        (inputs(a=(1,), name=(1,)), {"name": TEXT}, "other than numbers: name"),
        (inputs(a=(1,), c=(1,)), {"c": EMPTY, "name": TEXT}, "missing values: c"),
    ],
)
def test_columns_without_numbers_matter_only_if_the_model_reads_them(
    model: dict[str, ModelInput], unusable: dict[str, Unusable], refused: str
) -> None:
    found = data("csv", "a", "b").model_copy(update={"unusable": unusable})
    if not refused:
        assert {name for names in matched(found, model).values() for name in names} == {"a", "b"}
        return
    with pytest.raises(DataError, match=refused):
        matched(found, model)


@pytest.mark.parametrize(
    ("found", "model", "words"),
    [
        (data("arrays", "x", "more"), inputs(i=(3,)), "not clear which array is the input .*one of x, more"),
        (data("arrays", "x"), inputs(i=(3,), j=(2,)), "which array is which input .*each input: i, j; found: x"),
        (data("csv", "x", "y"), inputs(i=(1,), j=(2,)), r"3 columns, in .* inputs: i \(1\), j \(2\); found: 2 columns"),
        (data("images"), inputs(i=(4, 4, 3), j=(2,)), r"several inputs, and the folder has only images .*i=\.\.\., j="),
        (data("audio"), inputs(i=(40, 98, 1)), "looks like a spectrogram .*40 x 98 x 1.*Models that take spectro"),
        (data("arrays", "i", "j"), inputs(i=(None,), j=(2,)), "open dimensions .*save the model with fixed shapes"),
    ],
)
def test_examples_that_do_not_fit_the_inputs(found: Data, model: dict[str, ModelInput], words: str) -> None:
    with pytest.raises(EdgemillError, match=words):
        match(found, model, Options())


def test_only_inputs_that_have_a_range_are_scaled_by_it() -> None:
    found = data("arrays", "image", "age").model_copy(update={"columns": {"image": "uint8", "age": "float32"}})
    _, planned = match(found, inputs(image=(2, 1), age=(1,)), Options())
    values: dict[str, Any] = {"image": np.array([[0, 255]], np.float32), "age": np.array([[40]], np.float32)}
    ready = {name: with_ranges(each, values[name], table=False) for name, each in planned.items()}
    assert [each.name for each in ready["image"].ranges] == ["0..1", "-1..1", "0..255"]
    assert ready["image"].scaled(values["image"], "-1..1").tolist() == [[[-1], [1]]]
    assert ready["age"].scaled(values["age"], "-1..1").tolist() == [[40]]
    with pytest.raises(EdgemillError, match=r"different shape than the model's input: age .*1 in each .*found: 5"):
        with_ranges(planned["age"], np.zeros([3, 5]), table=False)
