"""Operators that a device lacks are named before a run, with what to do."""

from pathlib import Path

from components.spec.devices.device import DeviceProfile
from pipelines.checks.operator_check import lacking_operators, warning_of
from pipelines.file.load import read_devices


def test_operators_that_a_device_lacks_are_named_with_a_cure() -> None:
    devices = read_devices(["cortex_m55", "phone_cpu"], Path.cwd(), "devices")
    found = lacking_operators({"CONV_2D", "GELU", "SOFTMAX"}, devices)
    assert found == {"cortex_m55": ("GELU",)}
    said = warning_of("cortex_m55", found["cortex_m55"])
    assert said.startswith("the model needs GELU, which cortex_m55 doesn't have") and "use ReLU or swish" in said


def test_nothing_is_known_of_recurrent_layers_and_of_devices_without_a_list() -> None:
    every = DeviceProfile(name="any", device_class="any", description="", schemes=("static_wi8_ai8",))
    assert lacking_operators({"GELU"}, [every]) == {}
    assert lacking_operators({"GELU", "WHILE"}, read_devices(["cortex_m55"], Path.cwd(), "devices")) == {}
