"""The examples that changed most, and counts of flips."""

import numpy as np
import pytest

from components.changes.ranking import Ranking


def test_lost_examples_come_first_then_the_largest_difference() -> None:
    before = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
    after = np.array([[0.3, 0.7], [0.61, 0.39], [0.9, 0.1], [0.0, 1.0]])
    ranking = Ranking(most=3, classes=("cat", "dog"))
    ranking.add({"p": before}, {"p": after}, {"": np.array([0, 0, 0, 1])}, list("abcd"))
    assert (ranking.examples, ranking.answered, ranking.lost, ranking.gained) == (4, 3, 1, 2)
    assert [(one.row, one.flip) for one in ranking.worst] == [("a", "lost"), ("c", "gained"), ("d", "gained")]
    worst = ranking.worst[0]
    assert (worst.target, worst.before, worst.after) == ("0 cat", "0 cat (0.9)", "1 dog (0.7)")
    energy = np.mean((before**2).sum(axis=1))
    assert worst.distance == pytest.approx(np.sqrt(((after[0] - before[0]) ** 2).sum() / energy))


def test_batches_give_what_one_batch_gives() -> None:
    random = np.random.default_rng(3)
    before = random.dirichlet(np.ones(4), 50)
    after = before + random.normal(0, 0.2, before.shape)
    # The same scale in each batch.
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    targets = random.integers(0, 4, 50)
    whole, parts = Ranking(most=5), Ranking(most=5)
    whole.add({"p": before}, {"p": after}, {"p": targets}, range(50))
    for start in range(0, 50, 7):
        chosen = slice(start, start + 7)
        parts.add({"p": before[chosen]}, {"p": after[chosen]}, {"p": targets[chosen]}, range(50)[chosen])
    assert [one.row for one in parts.worst] == [one.row for one in whole.worst]
    assert (parts.lost, parts.gained, parts.answered) == (whole.lost, whole.gained, whole.answered)
    right = before.argmax(axis=1) == targets
    assert whole.lost == int((right & (after.argmax(axis=1) != targets)).sum())


def test_values_are_neither_right_nor_wrong() -> None:
    ranking = Ranking(most=2)
    ranking.add(
        {"y": np.array([[1.0], [200.0]])}, {"y": np.array([[1.0], [180.0]])}, {"": np.array([1.5, 190.0])}, "ab"
    )
    assert (ranking.lost, ranking.answered) == (None, None)
    # What did not change is not among the worst.
    assert [(one.row, one.before, one.after) for one in ranking.worst] == [("b", "200", "180")]


@pytest.mark.parametrize(
    "target", [np.array([1, 0]), np.array([[1], [0]]), np.array([[1.0], [0.0]]), np.array([True, False])]
)
def test_one_output_between_0_and_1_is_two_classes(target) -> None:
    ranking = Ranking(most=2)
    ranking.add({"p": np.array([[0.9], [0.6]])}, {"p": np.array([[0.4], [0.2]])}, {"p": target}, "ab")
    assert (ranking.lost, ranking.gained) == (1, 1)


def test_one_hot_targets_and_text_outputs() -> None:
    ranking = Ranking(most=4)
    outputs = {"p": np.array([[0.9, 0.1], [0.2, 0.8]]), "words": np.array(["yes", "no"])}
    changed = {"p": np.array([[0.1, 0.9], [0.2, 0.8]]), "words": np.array(["yes", "on"])}
    ranking.add(outputs, changed, {"p": np.eye(2)}, "ab")
    assert (ranking.lost, ranking.gained) == (1, 0)
    assert [one.row for one in ranking.worst] == ["a", "b"]
    assert ranking.worst[1].after == "p: 1 (0.8); words: on"


def test_values_that_are_not_finite_have_a_distance() -> None:
    ranking = Ranking(most=1)
    ranking.add({"y": np.array([[1.0, 2.0]])}, {"y": np.array([[np.nan, 2.0]])}, {}, "a")
    assert 0 < ranking.worst[0].distance < 1


def test_the_first_batch_says_what_an_output_is() -> None:
    ranking = Ranking(most=1)
    ranking.add({"y": np.array([[3.0], [0.2]])}, {"y": np.array([[2.0], [0.2]])}, {}, "ab")
    ranking.add({"y": np.array([[0.7]])}, {"y": np.array([[0.1]])}, {"": np.array([1])}, "c")
    assert (ranking.answered, ranking.lost) == (None, None)


def test_several_labels_at_once_are_not_one_class() -> None:
    ranking = Ranking(most=1)
    ranking.add(
        {"p": np.array([[0.9, 0.8, 0.1]])}, {"p": np.array([[0.8, 0.9, 0.1]])}, {"p": np.array([[1, 1, 0]])}, "a"
    )
    assert ranking.answered is None
