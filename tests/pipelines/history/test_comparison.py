import pytest

from pipelines.history.comparison import compare
from tests.pipelines.report.conftest import make_summary


def test_comparison_holds_both_runs_of_each_candidate_and_device() -> None:
    before = make_summary()
    after = make_summary([("int8", -0.02, 23_000)])
    found = compare(before, after)
    assert (found.before.metric, found.before.baseline, found.before.examples) == ("accuracy", 0.891, 1000)
    int8 = next(one for one in found.candidates if one.name == "int8")
    assert int8.before is not None and int8.after is not None
    assert (int8.before.bytes, int8.after.bytes, int8.same_recipe) == (23_104, 23_000, True)
    assert int8.after.metrics["accuracy"].value == pytest.approx(0.871)
    assert (int8.before.verdicts["phone_cpu"], int8.after.verdicts["phone_cpu"]) == ("blessed", "fail")
    phone = found.devices[0]
    assert phone.before is not None and phone.after is not None
    assert (phone.before.chosen, phone.after.chosen) == ("int8", "dynamic")


def test_what_only_one_run_has_is_none_in_the_other() -> None:
    before, after = make_summary(), make_summary()
    evaluation = after.evaluation
    fewer = evaluation.model_copy(update={"candidates": evaluation.candidates[1:]})
    found = compare(before, after.model_copy(update={"evaluation": fewer, "devices": after.devices[:1]}))
    assert found.candidates[0].name == "float32"
    assert found.candidates[0].before is not None and found.candidates[0].after is None
    assert not found.candidates[0].same_recipe
    assert [one.device for one in found.devices if one.after is None] == ["cortex_m0"]


def test_changed_recipe_is_marked() -> None:
    before, after = make_summary(), make_summary()
    changed = after.evaluation.candidates[3].recipe.model_copy(update={"scheme": before.candidates[1].recipe.scheme})
    candidates = list(after.evaluation.candidates)
    candidates[3] = candidates[3].model_copy(update={"recipe": changed})
    evaluation = after.evaluation.model_copy(update={"candidates": tuple(candidates)})
    found = compare(before, after.model_copy(update={"evaluation": evaluation}))
    assert [one.name for one in found.candidates if not one.same_recipe] == ["int8"]
