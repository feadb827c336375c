"""The range of a model's input is found by the model's accuracy."""

import re
import shlex
from typing import Any

import numpy as np
import pytest

from components.core.errors import SpecError
from edgemill.project.questions import parsed
from edgemill.project.scales import Scale, candidates, choose
from edgemill.project.unclear import UnclearError

GENERATOR = np.random.default_rng(5)
LABELS = np.arange(300) % 3
PIXELS = (LABELS * 80 + GENERATOR.integers(0, 60, 300)).reshape(-1, 1).astype(np.float32)
CLASSES = ("a", "b", "c")


def model(low: float, high: float, order: tuple[int, ...] = (0, 1, 2)) -> Any:
    """Probabilities of three classes of brightness, for pixels in a range."""

    def run(values: np.ndarray) -> np.ndarray:
        level = ((values[:, 0] - low) / (high - low) * 3.1).astype(int).clip(0, 2)
        return np.eye(3)[np.array(order)[level]] * 0.9 + 0.1 / 3

    return run


def in_range(run: Any, values: np.ndarray, ranges: list[Scale]) -> Any:
    """Name of a range -> the outputs for values in it."""
    return {each.name: run(values * np.asarray(each.scale) + np.asarray(each.offset)) for each in ranges}


def chosen(run: Any, wanted: str | None = None) -> str:
    ranges = candidates("uint8", PIXELS, table=False)
    return choose(in_range(run, PIXELS, ranges), LABELS, "classes", wanted, CLASSES)[0].scale


@pytest.mark.parametrize(("name", "low", "high"), [("0..1", 0, 1), ("-1..1", -1, 1), ("0..255", 0, 255)])
def test_range_that_the_model_was_trained_on_is_chosen(name: str, low: float, high: float) -> None:
    assert chosen(model(low, high)) == name


def test_of_equally_good_ranges_the_most_common_is_chosen_and_the_user_decides() -> None:
    def scaled(values: np.ndarray) -> np.ndarray:
        found = model(values.min(), values.max())(values)
        # One answer of 300 that is right only in the other ranges decides nothing.
        return found if values.min() < 0 or values.max() > 1 else np.concatenate([found[:1] * [-1, 1, 1], found[1:]])

    assert chosen(scaled) == "0..1"
    assert chosen(scaled, "0..255") == "0..255"
    with pytest.raises(SpecError, match=r"--scale: there is no such range .*0\.\.1, -1\.\.1, 0\.\.255; found: raw"):
        chosen(scaled, "raw")


def test_other_order_of_classes_is_found_out_and_refused() -> None:
    with pytest.raises(UnclearError, match=r"--classes: .*0\.\d\d instead of 0\.95 .*add `--classes c,a,b`"):
        chosen(model(0, 1, order=(1, 2, 0)))


def test_advice_about_the_order_of_classes_works_in_a_shell_whatever_they_are_called() -> None:
    labels = np.arange(200) % 2
    names = ("apples, red", "it's $1")
    with pytest.raises(UnclearError) as caught:
        choose({"raw": np.where(labels, 0.1, 0.9)[:, None]}, labels, "two_classes", None, names)
    [command] = re.findall("`(.*)`", caught.value.remedy)
    assert parsed("classes", shlex.split(command)[-1]) == parsed("classes", caught.value.default) == names[::-1]


def test_other_class_of_one_output_is_found_out() -> None:
    labels = np.arange(200) % 2
    outputs = {"raw": np.where(labels, 0.1, 0.9)[:, None]}
    with pytest.raises(UnclearError, match=r"0\.00 instead of 1\.00 .*add `--classes yes,no`") as caught:
        choose(outputs, labels, "two_classes", None, ("no", "yes"))
    assert (caught.value.option, caught.value.default) == ("classes", "yes,no")
    assert choose(outputs, 1 - labels, "two_classes", None, ("yes", "no"))[0].error == 0


def test_model_that_guesses_is_refused_unless_the_user_chooses() -> None:
    def guess(values: np.ndarray) -> np.ndarray:
        return np.full([len(values), 3], 1 / 3)

    with pytest.raises(SpecError, match=r"0\.\.1: 0\.33, -1\.\.1: 0\.33, 0\.\.255: 0\.33, on 300 examples"):
        chosen(guess)
    assert chosen(guess, "0..1") == "0..1"


def test_columns_are_standardized_if_the_model_wants_it() -> None:
    values = GENERATOR.normal([100, 5], [10, 1], [300, 2])
    labels = (values[:, 0] - 100) / 10 + (values[:, 1] - 5)
    ranges = candidates("float32", values, table=True)

    def run(scaled: np.ndarray) -> np.ndarray:
        return scaled.sum(axis=1, keepdims=True)

    best, trials = choose(in_range(run, values, ranges), labels, "values", None, ())
    assert best.scale == "standardized" and best.error < 0.15 and trials[0].error > 90


def test_logits_are_told_from_probabilities() -> None:
    def logits(values: np.ndarray) -> np.ndarray:
        return np.log(model(0, 1)(values))

    ranges = candidates("uint8", PIXELS, table=False)
    for run, expected in ((logits, True), (model(0, 1), False)):
        best, _ = choose(in_range(run, PIXELS, ranges), LABELS, "classes", None, CLASSES)
        assert best.logits is expected
