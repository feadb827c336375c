"""Tools that are missing, or of a different version, are reported before anything runs."""

import importlib.metadata

import pytest

from components.core.errors import SpecError
from components.device_check.check import check_candidates
from components.device_check.installed import matches, tool_errors
from components.spec.devices.device_tools import RuntimesEvaluator, TflmEvaluator, VelaEvaluator

VELA = {"accelerator": "ethos-u55-64", "system_config": "Ethos_U55_Deep_Embedded"}
TOOLS = {
    "vela": ("Vela", "ethos-u-vela", lambda **fields: VelaEvaluator(**VELA, **fields)),
    "tflm": ("TensorFlow Lite Micro", "tflite-micro", TflmEvaluator),
    "runtimes": ("LiteRT", "ai-edge-litert", RuntimesEvaluator),
}


@pytest.mark.parametrize(
    ("found", "asked", "fits"),
    [
        ("5.2.0", "5.2.0", True),
        ("5.2.0", "5.2", True),
        ("5.2.0", "5", True),
        ("5.2.0+cpu", "5.2.0", True),
        ("5.20.0", "5.2", False),
        ("5.2.0", "5.2.0.1", False),
        ("5.2.0", "5.1", False),
        ("52.0", "5", False),
    ],
)
def test_version_belongs_to_the_one_that_is_asked_for(found, asked, fits):
    assert matches(found, asked) == fits


@pytest.mark.parametrize("kind", TOOLS)
def test_installed_tool_is_accepted_in_its_version_and_without_one(kind):
    _, distribution, evaluator = TOOLS[kind]
    found = importlib.metadata.version(distribution)
    assert list(tool_errors("board", [evaluator(), evaluator(version=found)])) == []


@pytest.mark.parametrize("kind", TOOLS)
def test_other_version_of_a_tool_is_an_error_with_both_versions_and_a_fix(kind):
    name, distribution, evaluator = TOOLS[kind]
    (error,) = tool_errors("board", [evaluator(), evaluator(version="9.9")])
    found = importlib.metadata.version(distribution)
    assert str(error) == (
        f"device 'board': evaluators[1] ({kind}).version: {name} has a different version than the profile "
        f"requires (expected: 9.9; found: {found}). Remedy: install {distribution}==9.9, or check the bounds of the "
        "profile with this version and correct `version`"
    )


@pytest.mark.parametrize("kind", TOOLS)
def test_missing_tool_is_an_error_before_any_candidate_is_tried(kind, monkeypatch):
    name, distribution, evaluator = TOOLS[kind]
    actual = importlib.metadata.version

    def version(of):
        if of == distribution:
            raise importlib.metadata.PackageNotFoundError(of)
        return actual(of)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(SpecError) as caught:
        check_candidates("board", [evaluator(version="1.5")], {}, None)
    assert str(caught.value) == (
        f"device 'board': evaluators[0] ({kind}): {name} is not installed in this Python (expected: the package "
        f"{distribution}, 1.5; found: no such package). Remedy: run `make setup`, which installs it, or remove the "
        "evaluator and the bounds that it measures"
    )
