import contextlib
import re
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

import pipelines
from components.model.tflite_file import _names
from components.spec.devices.device import DeviceProfile
from components.spec.devices.device_tools import ACCELERATORS, MEMORY_MODES, SYSTEM_CONFIGS
from components.spec.devices.operators import BUILTIN_OPERATORS, highest_version
from components.spec.devices.pinned import PinnedTensor
from components.upstream.tflite.schema import load_schema
from pipelines.file.device_checks import pins_of
from pipelines.file.load import PipelineFileError, load_pipeline
from tests.small_pipeline import SmallPipeline

FILES = sorted((Path(pipelines.__file__).parent / "devices").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_profile_is_valid_and_named_like_its_file_when_loaded(path):
    profile = DeviceProfile.model_validate(yaml.safe_load(path.read_text()))
    assert profile.name == path.stem
    assert profile.max_file_bytes is not None


def test_profile_in_the_docs_is_valid():
    block, *_ = re.findall(r"^```yaml\n(.*?)^```", Path("docs/devices.md").read_text(), re.MULTILINE | re.DOTALL)
    profile = DeviceProfile.model_validate(yaml.safe_load(block))
    assert {each.kind for each in profile.evaluators} == {"vela", "tflm"}


def test_microcontroller_takes_integers_only_within_64_kib_when_loaded():
    profile = DeviceProfile.model_validate(
        yaml.safe_load(next(path for path in FILES if path.stem == "cortex_m55").read_text())
    )
    assert profile.integer_only
    assert profile.max_file_bytes == 64 * 1024
    assert all(scheme.startswith("static_") for scheme in profile.schemes)
    assert profile.operators is not None
    assert len(set(profile.operators)) == len(profile.operators)
    assert {"CONV_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"} <= set(profile.operators)
    assert not {"DEQUANTIZE"} & set(profile.operators)


PROFILE = {"name": "mine", "device_class": "mine", "description": "a board", "schemes": ["static_wi8_ai8"]}


def test_builtin_operators_are_those_of_the_installed_tensorflow():
    installed = set(_names(load_schema().BuiltinOperator).values())
    assert installed - BUILTIN_OPERATORS == {"CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    newer = {f"STABLEHLO_{name}" for name in ("CASE", "CBRT", "COMPOSITE", "SHIFT_LEFT")}
    assert BUILTIN_OPERATORS - installed in (set(), newer)


def highest_registered(code: int, load: Callable[[bytes], object]) -> int:
    """The highest version of an operator that a runtime has a kernel for; 1 if it has none."""
    from components.upstream.tflite.objects import pack, schema

    model, operator, graph, buffer = schema.ModelT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.BufferT()
    operator.builtinCode, operator.deprecatedBuiltinCode = code, min(code, 127)
    graph.tensors, graph.inputs, graph.outputs, graph.operators, buffer.data = [], [], [], [], []
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [operator], [graph], [buffer]
    highest = 1
    for operator.version in range(1, 20):
        with contextlib.suppress(ValueError):
            load(pack(model))
            highest = operator.version
    return highest


def test_highest_versions_of_operators_are_those_of_the_installed_runtimes():
    """LiteRT refuses a file that names an operator's version without a kernel."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    codes = {name: code for code, name in _names(load_schema().BuiltinOperator).items() if name in BUILTIN_OPERATORS}
    litert = {
        name: highest_registered(code, lambda content: Interpreter(model_content=content))
        for name, code in codes.items()
    }
    assert litert == {name: highest_version(name) for name in codes}
    for name in ("CONV_2D", "FULLY_CONNECTED", "SOFTMAX"):
        assert (
            highest_registered(codes[name], lambda content: tf.lite.Interpreter(model_content=content)) <= litert[name]
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CONV2D", "'CONV2D' (did you mean 'CONV_2D'?)"),
        ("conv_2d", "'conv_2d' (did you mean 'CONV_2D'?)"),
        ("CUSTOM", "'CUSTOM'"),
        ("CUSTOM:", "'CUSTOM:'"),
    ],
)
def test_operator_is_refused_with_the_nearest_when_tflite_has_none_of_that_name(name, message):
    with pytest.raises(ValueError, match="neither a builtin operator of TFLite nor CUSTOM:<code>") as caught:
        DeviceProfile.model_validate({**PROFILE, "operators": ["RESHAPE", name]})
    assert message in str(caught.value)
    assert "RESHAPE'?" not in str(caught.value)


def test_custom_operator_is_accepted_when_its_code_is_named():
    operators = ("CONV_2D", "CUSTOM:MyOp")
    assert DeviceProfile.model_validate({**PROFILE, "operators": operators}).operators == operators


@pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
def test_latency_ratio_is_refused_when_not_finite(ratio):
    with pytest.raises(ValueError, match="finite number"):
        DeviceProfile.model_validate({**PROFILE, "max_latency_ratio": ratio})


VELA = {"kind": "vela", "accelerator": "ethos-u55-128", "system_config": "Ethos_U55_High_End_Embedded"}


def test_accelerators_and_configurations_are_those_of_the_installed_vela():
    from ethosu.vela import architecture_features as vela

    file = ConfigParser()
    file.read(Path(vela.__file__).parents[1] / "config_files" / "Arm" / "vela.ini")
    of = {kind: [name for name in file.sections() if name.startswith(kind)] for kind in ("System", "Memory")}
    assert set(ACCELERATORS) == set(vela.Accelerator.member_list())
    assert {name.partition(".")[2]: file[name]["axi1_port"] == "Dram" for name in of["System"]} == SYSTEM_CONFIGS
    assert set(MEMORY_MODES) == {name.partition(".")[2] for name in of["Memory"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "ethos-u55-129"}, "there is no accelerator 'ethos-u55-129'; did you mean 'ethos-u55-128'?"),
        ({"accelerator": "Ethos_U85_2048"}, "did you mean 'ethos-u85-2048'?"),
        ({"system_config": "Ethos_U55_High_End"}, "did you mean 'Ethos_U55_High_End_Embedded'?"),
        ({"memory_mode": "shared-sram"}, "there is no memory mode 'shared-sram'; did you mean 'Shared_Sram'?"),
        (
            {"system_config": "Ethos_U65_High_End"},
            "'Ethos_U65_High_End' is not for the accelerator 'ethos-u55-128': use",
        ),
        ({"memory_mode": "Dedicated_Sram"}, "'Ethos_U55_High_End_Embedded' has none: use Sram_Only or Shared_Sram"),
        ({"timeout_s": 0}, "greater than 0"),
    ],
)
def test_vela_evaluator_is_refused_with_the_nearest_when_vela_knows_no_such_thing(changes, message):
    with pytest.raises(ValueError, match="evaluators") as caught:
        DeviceProfile.model_validate({**PROFILE, "evaluators": [{**VELA, **changes}]})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_npu_cycles": 5}, "max_npu_cycles needs an evaluator that measures it: add `evaluators: [{kind: vela}]`"),
        ({"max_cpu_operators": 0, "evaluators": [{"kind": "tflm"}]}, "max_cpu_operators needs an evaluator"),
        ({"max_arena_bytes": 5, "evaluators": [VELA]}, "add `evaluators: [{kind: tflm}]`"),
        ({"evaluators": [VELA, VELA]}, "at most one of each kind"),
        (
            {"max_flash_bytes": 5, "evaluators": [{**VELA, "memory_mode": "Sram_Only"}]},
            "max_flash_bytes has no effect: Ethos_U55_High_End_Embedded with Sram_Only keeps no weights in flash",
        ),
    ],
)
def test_bound_is_refused_when_nothing_measures_it(changes, message):
    with pytest.raises(ValueError) as caught:
        DeviceProfile.model_validate({**PROFILE, **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        ({"kind": "vella"}, "evaluators[0]: unknown value 'vella'; did you mean 'vela'?"),
        (
            {**VELA, "accelerator": "ethos-u56-128"},
            "evaluators[0].accelerator: there is no accelerator 'ethos-u56-128'",
        ),
        (
            {"kind": "tflm", "exampels": 3},
            "evaluators[0].exampels: unknown field 'exampels'; did you mean 'examples'?",
        ),
    ],
)
def test_wrong_evaluator_is_reported_with_its_field_before_any_work(tmp_path, evaluator, message):
    small = SmallPipeline(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PROFILE, "evaluators": [evaluator]}))
    small.spec["devices"] = ["mine.yaml"]
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.write())
    assert message in str(caught.value)


@pytest.mark.parametrize(("examples", "refused"), [(29, True), (30, False), ("all", False)])
def test_fewer_examples_than_the_gate_needs_are_refused_before_any_work(tmp_path, examples, refused):
    small = SmallPipeline(tmp_path)
    evaluators = [{"kind": "tflm", "examples": examples}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PROFILE, "evaluators": evaluators}))
    small.spec["devices"] = ["mine.yaml"]
    if not refused:
        load_pipeline(small.write())
        return
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(small.write())
    assert "evaluates too few examples under TensorFlow Lite Micro" in str(caught.value)
    assert "expected: examples of the evaluator >= gate.min_examples (30); found: 29" in str(caught.value)


PIN = {"scale": 0.5847, "zero_point": 83}


def pinned_pipeline(folder, recipes, *profiles):
    small = SmallPipeline(folder)
    for number, changes in enumerate(profiles):
        own = {**PROFILE, "name": f"mine{number}", "device_class": f"mine{number}", **changes}
        (folder / f"mine{number}.yaml").write_text(yaml.safe_dump(own))
    small.spec["recipes"] = [{"name": f"r{number}", "scheme": scheme} for number, scheme in enumerate(recipes)]
    small.spec["devices"] = [f"mine{number}.yaml" for number in range(len(profiles))]
    small.spec["calibrate"] = {"split": "train", "samples": 10}
    return small.write()


@pytest.mark.parametrize(
    ("scheme", "profile"),
    [
        ({"kind": "static_wi8_ai8", "float_io": True}, {"pinned_inputs": [PIN]}),
        ("static_wi8_ai16", {"pinned_inputs": [PIN]}),
        ("static_wi8_ai8", {"pinned_outputs": [{**PIN, "dtype": "int16"}]}),
        ("float32", {"pinned_inputs": [PIN]}),
    ],
    ids=["float inputs", "wider activations", "narrower activations", "float"],
)
def test_pins_that_no_recipe_can_have_are_refused_before_any_work(tmp_path, scheme, profile):
    schemes = ["static_wi8_ai8", "static_wi8_ai16", "float32"]
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(pinned_pipeline(tmp_path, [scheme], {**profile, "schemes": schemes}))
    assert "devices[0]: the device 'mine0' pins the quantization of inputs or outputs, but no recipe" in str(
        caught.value
    )
    kind = scheme["kind"] if isinstance(scheme, dict) else scheme
    assert f"found: r0: {kind})" in str(caught.value)


def test_devices_that_pin_one_candidate_differently_are_refused_before_any_work(tmp_path):
    profiles = ({"pinned_inputs": [PIN]}, {"pinned_inputs": [{**PIN, "scale": 0.5}]})
    with pytest.raises(PipelineFileError) as caught:
        load_pipeline(pinned_pipeline(tmp_path, ["static_wi8_ai8"], *profiles))
    assert (
        "recipes[0] (r0): devices pin the input of one candidate to different values (expected: one quantization of "
        "each input; found: the only one: int8, scale 0.5847, zero point 83; the only one: int8, scale 0.5, zero point "
        "83)"
    ) in str(caught.value)


def test_conversions_get_the_pins_of_the_devices_that_they_are_for(tmp_path):
    same, output = {"pinned_inputs": [PIN]}, {"pinned_outputs": [{**PIN, "name": "y"}]}
    loaded = load_pipeline(pinned_pipeline(tmp_path, ["static_wi8_ai8", "float32"], same, same, output, {}))
    ours, theirs = (pins_of(recipe, loaded.devices) for recipe in loaded.spec.recipes)
    assert ours.inputs == (PinnedTensor(**PIN),)
    assert ours.outputs == (PinnedTensor(**PIN, name="y"),)
    assert not theirs


def test_time_for_examples_ends_before_the_limit_that_leaves_no_figures():
    evaluators = [{"kind": "tflm", "seconds": 120}]
    with pytest.raises(ValueError, match=r"seconds \(120\) must be below timeout_s \(120\)"):
        DeviceProfile.model_validate({**PROFILE, "evaluators": evaluators})


def test_no_shipped_profile_bounds_the_difference_of_single_outputs():
    # It refused files whose metrics hold.
    profiles = [DeviceProfile.model_validate(yaml.safe_load(path.read_text())) for path in FILES]
    assert [profile.name for profile in profiles if profile.max_tflm_lsb is not None] == []
    assert [
        profile.name for profile in profiles if profile.device_class.startswith("cortex") and not profile.tflm
    ] == []


def test_device_with_an_npu_is_judged_by_vela_and_takes_nothing_on_its_cpu():
    profile = DeviceProfile.model_validate(
        yaml.safe_load(next(path for path in FILES if path.stem == "ethos_u55").read_text())
    )
    assert profile.vela is not None and profile.vela.accelerator == "ethos-u55-128"
    assert profile.max_cpu_operators == 0
    assert profile.tflm is None
