"""What is wrong with bounds, groups, and device profiles is reported before any work, each with its own message.

Three cases need the examples or the model, and are tested where they are found: a single group
(`tests/components/evaluate/test_evaluator_component.py`), all examples in one class
(`tests/components/validate/test_validate.py`), and a pinned scale that clips, with the share
(`tests/components/convert/test_pins.py`).
"""

import importlib.metadata
from pathlib import Path

import pytest
import yaml

from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError
from pipelines.file.user_folders import make_importable
from tests.small_pipeline import SmallPipeline

PROFILE = {"name": "mine", "device_class": "mine", "description": "a board", "schemes": ["static_wi8_ai8"]}
FLOOR = {"name": "accuracy", "at_least": 0.9}
CEILING = {"name": "accuracy", "at_most": 0.5}
TFLM = importlib.metadata.version("tflite-micro")
DEVICE = "devices[0] (FOLDER/mine.yaml): "
VELA = {"kind": "vela", "accelerator": "ethos-u55-128", "system_config": "Ethos_U55_High_End_Embedded"}


def gate(**fields):
    return {"gate": fields}


def shown(metric, **bound):
    name = metric if isinstance(metric, str) else metric["name"]
    return {"evaluate": {"metrics": ["accuracy", metric]}, **gate(metrics=[{"name": name, **bound}], decide_on="test")}


def profile(**fields):
    return {"profile": fields}


def pinned(**fields):
    return profile(pinned_inputs=[{"scale": 0.5, "zero_point": 0, **fields}])


CASES = {
    "contradictory bounds of one entry": (
        gate(metrics=[{**FLOOR, "at_most": 0.5}]),
        "gate.metrics[0]: at_least (0.9) is above at_most (0.5): nothing can pass",
    ),
    "contradictory bounds of two entries": (
        gate(metrics=[FLOOR, CEILING]),
        "gate: two bounds on 'accuracy' contradict each other: at_least (0.9) is above at_most (0.5)",
    ),
    "contradictory bounds on one slice": (
        gate(metrics=[{**CEILING, "slices": ["label"]}, {**FLOOR, "slices": ["label"]}]),
        "gate: two bounds on 'accuracy' on label contradict each other: at_least (0.9) is above at_most (0.5)",
    ),
    "bound that nothing can meet": (
        gate(metrics=[{"name": "accuracy", "at_least": 2}]),
        "gate.metrics[0].at_least: this bound never holds",
    ),
    "alpha of 0": (gate(decide_on="test", alpha=0), "gate.alpha: input should be greater than 0 (found: 0)"),
    "alpha of a half": (gate(decide_on="test", alpha=0.5), "gate.alpha: input should be less than 0.5 (found: 0.5)"),
    "alpha below 0": (gate(decide_on="test", alpha=-0.1), "gate.alpha: input should be greater than 0 (found: -0.1)"),
    "alpha that is NaN": (gate(decide_on="test", alpha=float("nan")), "gate.alpha: input should be a finite number"),
    "alpha in percent": (gate(decide_on="test", alpha=5), "Remedy: write a number above 0 and below 0.5"),
    "alpha as text": (gate(decide_on="test", alpha="5 %"), "gate.alpha: input should be a valid number"),
    "alpha without a test": (gate(alpha=0.05), "gate: alpha (0.05) has no effect with `decide_on: estimate`"),
    "test of a metric without a range": (
        shown("mean_absolute_error", max_rise_from_baseline=0.1),
        "gate.metrics[0].name: no candidate can pass `decide_on: test`, because the metric 'mean_absolute_error' has "
        "no known range (expected: the smallest and the largest value that an example can have; found: no range). "
        "Remedy: declare it in evaluate.metrics, such as `{name: mean_absolute_error, class_name: MeanAbsoluteError, "
        "range: [0, 5]}`",
    ),
    "test of a metric with half a range": (
        shown({"name": "errors", "function": "word_error_rate"}, at_most=0.5),
        "because the metric 'errors' has no known range (expected: the smallest and the largest value that an example "
        "can have; found: range: [0.0, None])",
    ),
    "test of a metric that is no mean": (
        shown({"name": "precision", "class_name": "Precision"}, at_least=0.5),
        "gate.metrics[0].name: no candidate can pass `decide_on: test`, because the metric 'precision' can't be tested "
        "(expected: a mean, a ratio of sums, or a function, with a `range`; or an area under the ROC curve; found: "
        "Precision). Remedy: use the function instead, such as `{name: precision, function: precision, config: "
        "{class_id: 1}}`",
    ),
    "test of a class of the user whose name ends like that of a mean": (
        shown({"name": "mine", "class_name": "mine>PercentAccuracy"}, at_least=85),
        "gate.metrics[0].name: no candidate can pass `decide_on: test`, because the metric 'mine' can't be tested "
        "(expected: a mean, a ratio of sums, or a function, with a `range`; or an area under the ROC curve; found: "
        "mine>PercentAccuracy). Remedy: write the metric as a function",
    ),
    "unknown way to decide": (
        gate(decide_on="hope"),
        "gate.decide_on: input should be 'estimate', 'interval' or 'test'",
    ),
    "negative tolerance": (
        gate(prefer={"by": "smallest", "within": -0.1}),
        "gate.prefer.within: input should be greater than 0 (found: -0.1)",
    ),
    "group without a name": ({"evaluate": {"group_by": ""}}, "evaluate.group_by: "),
    "several groups": ({"evaluate": {"group_by": ["a", "b"]}}, "evaluate.group_by: input should be a valid string"),
    "unknown operator": (
        profile(operators=["ADD", "CONV2D"]),
        DEVICE
        + "operators: neither a builtin operator of TFLite nor CUSTOM:<code>: 'CONV2D' (did you mean 'CONV_2D'?)",
    ),
    "no operator at all": (profile(operators=[]), DEVICE + "operators: tuple should have at least 1 item after"),
    "no examples": (
        profile(evaluators=[{"kind": "runtimes", "examples": 0}]),
        DEVICE + "evaluators[0].examples: input should be greater than 0 (found: 0). Remedy: write a number above 0",
    ),
    "examples in words": (
        profile(evaluators=[{"kind": "runtimes", "examples": "some"}]),
        DEVICE + "evaluators[0].examples: input should be 'all' (found: 'some'). Remedy: write one of these",
    ),
    "version of an unknown operator": (
        profile(operator_versions={"SOFTMAXX": 2}),
        DEVICE + "operator_versions: neither a builtin operator of TFLite nor CUSTOM:<code>: 'SOFTMAXX' (did you mean",
    ),
    "version 0 of an operator": (
        profile(operator_versions={"CONV_2D": 0}),
        DEVICE + "operator_versions.CONV_2D: input should be greater than or equal to 1 (found: 0)",
    ),
    "version of an operator that no runtime has": (
        profile(operator_versions={"SOFTMAX": 4, "CONV_2D": 9, "CUSTOM:MyOp": 40}),
        DEVICE + "operator_versions: there are no such versions in TFLite: CONV_2D has versions up to 8, not 9",
    ),
    "version of an operator as text": (
        profile(operator_versions={"CONV_2D": "newest"}),
        DEVICE + "operator_versions.CONV_2D: input should be a valid integer",
    ),
    "version of an operator that the device lacks": (
        profile(operators=["ADD"], operator_versions={"CONV_2D": 3}),
        "operator_versions: 'CONV_2D' is not among `operators`: add it there, or remove it",
    ),
    "pinned scale of 0": (
        pinned(scale=0),
        DEVICE + "pinned_inputs[0].scale: input should be greater than 0 (found: 0)",
    ),
    "pinned scale that float32 lacks": (pinned(scale=1e-40), "pinned_inputs[0]: scale 1e-40 is not a normal float32"),
    "pinned zero point that int8 lacks": (
        pinned(zero_point=200),
        DEVICE + "pinned_inputs[0]: zero_point 200 is not an int8: it must be in -128..127",
    ),
    "pinned float": (
        pinned(dtype="float32"),
        DEVICE + "pinned_inputs[0].dtype: input should be 'int8', 'uint8' or 'int16'",
    ),
    "pin that clips everything": (
        pinned(max_clipped=1),
        DEVICE + "pinned_inputs[0].max_clipped: input should be less than 1",
    ),
    "several pins without a name": (
        profile(pinned_inputs=[{"scale": 1, "zero_point": 0}, {"scale": 2, "zero_point": 0}]),
        "if several tensors are pinned, name each, and pin each only once",
    ),
    "other version of a tool": (
        profile(evaluators=[{"kind": "tflm", "version": "9.9"}]),
        "device 'mine': evaluators[0] (tflm).version: TensorFlow Lite Micro has a different version than the profile "
        f"requires (expected: 9.9; found: {TFLM}). Remedy: install tflite-micro==9.9, or check",
    ),
    "other version of the compiler": (
        profile(evaluators=[{**VELA, "version": "1.0"}]),
        "device 'mine': evaluators[0] (vela).version: Vela has a different version than the profile requires",
    ),
    "version as a number": (
        profile(evaluators=[{"kind": "tflm", "version": 5.2}]),
        DEVICE + "evaluators[0].version: a version is text, because 5.2 and 5.20 are different versions: write '5.2'",
    ),
    "version in words": (
        profile(evaluators=[{"kind": "tflm", "version": "newest"}]),
        DEVICE + "evaluators[0].version: this text does not match the pattern",
    ),
    # Its binary is not one for a phone either.
    "missing tool": (
        profile(evaluators=[{"kind": "adb", "benchmark": "mine.yaml", "adb": "adb-that-is-missing"}]),
        "device 'mine': evaluators[0] (adb).adb: there is no such executable (expected: Android Debug Bridge on PATH, "
        "or its path; found: adb-that-is-missing). Remedy: install Android's platform tools",
    ),
    "missing binary": (
        profile(evaluators=[{"kind": "adb", "benchmark": "bin/benchmark_model", "adb": "sh"}]),
        "evaluators[0] (adb).benchmark: the benchmark binary cannot be read",
    ),
    "binary that is not a program": (
        profile(evaluators=[{"kind": "adb", "benchmark": "mine.yaml", "adb": "sh"}]),
        "evaluators[0] (adb).benchmark: the benchmark binary is not for the phone's ABI",
    ),
    "folder on the phone that is relative": (
        profile(evaluators=[{"kind": "adb", "benchmark": "b", "folder": "tmp"}]),
        DEVICE + "evaluators[0].folder: this text does not match the pattern",
    ),
    "two phones": (
        profile(evaluators=[{"kind": "adb", "benchmark": "b"}, {"kind": "adb", "benchmark": "c"}]),
        "evaluators: at most one of each kind",
    ),
    "unknown evaluator": (
        profile(evaluators=[{"kind": "qemu"}]),
        DEVICE + "evaluators[0]: unknown value 'qemu' (expected: one of ",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_reported_before_any_work_with_its_own_message(tmp_path: Path, name: str) -> None:
    changes, message = CASES[name]
    small = SmallPipeline(tmp_path)
    small.spec["gate"].update(changes.get("gate", {}))
    small.spec.setdefault("evaluate", {}).update(changes.get("evaluate", {}))
    if "profile" in changes:
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PROFILE, **changes["profile"]}))
        small.spec["devices"] = ["mine.yaml"]
    make_importable(small.write())
    with pytest.raises(PipelineFileError) as caught:
        preflight(small.file)
    said = str(caught.value).replace(str(tmp_path), "FOLDER")
    assert message in said
    assert said.count("Remedy: ") == len(caught.value.errors) == (2 if name == "missing tool" else 1)
