from pathlib import Path

import pytest
import yaml

import pipelines
from components.convert.inspection import _names, _schema
from components.device import DeviceProfile
from components.operators import BUILTIN_OPERATORS

FILES = sorted((Path(pipelines.__file__).parent / "devices").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_profile_is_valid_and_named_like_its_file_when_loaded(path):
    profile = DeviceProfile.model_validate(yaml.safe_load(path.read_text()))
    assert profile.name == path.stem
    assert profile.max_file_bytes is not None


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
    assert not {"DEQUANTIZE", "WHILE"} & set(profile.operators)


PROFILE = {"name": "mine", "device_class": "mine", "description": "a board", "schemes": ["static_wi8_ai8"]}


def test_builtin_operators_are_those_of_the_installed_tensorflow():
    installed = set(_names(_schema().BuiltinOperator).values())
    assert installed - BUILTIN_OPERATORS == {"CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    assert installed >= BUILTIN_OPERATORS


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
    with pytest.raises(ValueError, match="no builtin operator of TFLite, nor CUSTOM:<code>") as caught:
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
