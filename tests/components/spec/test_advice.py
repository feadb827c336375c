"""Advice names what the devices of the pipeline file accept."""

import pickle

import pytest

from components.core.errors import ModelError
from components.spec.devices.advice import for_devices, with_advice
from components.spec.devices.device import DeviceProfile

PHONE = DeviceProfile(
    name="phone",
    device_class="phones",
    description="a phone",
    schemes=("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8"),
)
CHIP = DeviceProfile(
    name="chip",
    device_class="chips",
    description="a microcontroller",
    schemes=("static_wi8_ai8", "static_wi8_ai16"),
    integer_only=True,
)
BOTH = "remove the recipe, or use float16 or static_wi8_ai8"


@pytest.mark.parametrize(
    ("remedy", "scheme", "devices", "added"),
    [
        (BOTH, "dynamic_wi8_afp32", [PHONE], ""),
        (BOTH, "dynamic_wi8_afp32", [PHONE, CHIP], ""),
        (BOTH, "dynamic_wi8_afp32", [], ""),
        (BOTH, "dynamic_wi8_afp32", [CHIP], "do not accept float16; they accept static_wi8_ai8"),
        ("use float16", "static_wi8_ai16", [CHIP], "do not accept float16; they accept static_wi8_ai8"),
        (
            "use static_wi8_ai8",
            "static_wi8_ai16",
            [CHIP.model_copy(update={"schemes": ("static_wi8_ai16",)})],
            "do not accept static_wi8_ai8; remove the recipe, or extend a device profile",
        ),
        ("add `float_fallback: true`", "static_wi8_ai8", [PHONE], ""),
        ("add `float_fallback: true`", "static_wi8_ai8", [PHONE, CHIP], ""),
        # Only the microcontroller takes 16 bits, and it takes no floats.
        ("add `float_fallback: true`", "static_wi8_ai16", [PHONE, CHIP], "do not accept `float_fallback`; they accept"),
        ("give the model an Input of float32", "static_wi8_ai8", [CHIP], ""),
        ("leave out `calibration_method` and `keep_float`", "static_wi8_ai8", [CHIP], ""),
        # A profile may list a float scheme, but an integer-only device takes no such file.
        (
            "use float16",
            "static_wi8_ai8",
            [CHIP.model_copy(update={"schemes": ("float16", "static_wi8_ai8", "static_wi8_ai16")})],
            "do not accept float16; they accept static_wi8_ai16",
        ),
    ],
)
def test_advice_says_what_no_device_accepts(remedy: str, scheme: str, devices: list[DeviceProfile], added: str) -> None:
    said = for_devices(remedy, scheme, devices)
    assert said.startswith(remedy)
    assert (added in said) if added else (said == remedy), said


def test_error_keeps_its_facts() -> None:
    error = ModelError("no weight is large enough", where="scheme", bound="1,024", measured=12, remedy=BOTH)
    advised = with_advice(error, "dynamic_wi8_afp32", [CHIP])
    assert type(advised) is ModelError
    assert str(advised) == str(error) + " (the devices of this file do not accept float16; they accept static_wi8_ai8)"
    assert str(pickle.loads(pickle.dumps(advised))) == str(advised)
    assert with_advice(error, "dynamic_wi8_afp32", [PHONE]) is error
