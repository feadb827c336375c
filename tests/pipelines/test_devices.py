from pathlib import Path

import pytest
import yaml

import pipelines
from components.device import DeviceProfile

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
