"""Checks of the recipes against the device profiles that a pipeline file names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from components.core.errors import SpecError
from components.spec.devices.device import DeviceProfile
from components.spec.devices.pinned import Pins
from components.spec.recipe import Recipe
from pipelines.file.cross_field_checks import repeated
from pipelines.file.spec import PipelineSpec


def device_errors(spec: PipelineSpec, devices: Iterable[DeviceProfile]) -> Iterator[SpecError]:
    """Yield every mismatch between the recipes and the profiles that `spec.devices` names, in the same order."""
    devices = list(devices)
    # A device that is listed twice is reported as such, and not again because its profile repeats a name and a class.
    once = list(dict(zip(spec.devices, devices, strict=True)).values())
    same_name = repeated([device.name for device in once])
    for name in same_name:
        yield SpecError(f"two device profiles are called {name!r}", where="devices", remedy="rename one of them")
    for name in repeated([device.device_class for device in once if device.name not in same_name]):
        yield SpecError(
            f"two device profiles share the device class {name!r}, so one release would replace the other",
            where="devices",
            remedy="give each its own class, or remove one of them",
        )
    yield from _pin_conflicts(spec, devices)
    for index, device in enumerate(devices):
        if spec.devices.index(spec.devices[index]) < index:
            continue
        if device.tflm is not None and device.tflm.examples != "all" and device.tflm.examples < spec.gate.min_examples:
            yield SpecError(
                f"the device {device.name!r} evaluates too few examples under TensorFlow Lite Micro, so nothing can "
                "pass the gate",
                where=f"devices[{index}]",
                bound=f"examples of the evaluator >= gate.min_examples ({spec.gate.min_examples})",
                measured=device.tflm.examples,
                remedy="raise `examples` of the evaluator in the device profile, or lower gate.min_examples",
            )
        known = [recipe for recipe in spec.recipes if recipe.scheme.kind in device.schemes]
        if not known:
            yield SpecError(
                f"the device {device.name!r} can't run any of the recipes",
                where=f"devices[{index}]",
                bound=f"a recipe with one of its schemes: {', '.join(device.schemes)}",
                measured=", ".join(sorted({recipe.scheme.kind for recipe in spec.recipes})),
                remedy="add such a recipe, or remove the device",
            )
        elif device.pins and not any(pins_of(recipe, [device]) for recipe in known):
            yield SpecError(
                f"the device {device.name!r} pins the quantization of inputs or outputs, but no recipe for it "
                "makes such a file",
                where=f"devices[{index}]",
                bound="a static scheme without float_io, whose activations are not wider than pinned inputs, and not "
                "narrower than pinned outputs",
                measured=", ".join(f"{recipe.name}: {recipe.scheme.kind}" for recipe in known),
                remedy="add such a recipe, or remove the pinned tensors from the profile",
            )
        elif device.integer_only and not any(recipe.scheme.integers_only for recipe in known):
            yield SpecError(
                f"the device {device.name!r} is integer-only, but no recipe for it guarantees an integer-only file",
                where=f"devices[{index}]",
                bound="a static scheme without float_io, float_fallback, and keep_float",
                measured=", ".join(f"{recipe.name}: {recipe.scheme.kind}" for recipe in known),
                remedy="remove those options from one of these recipes, or add such a recipe",
            )


def pins_of(recipe: Recipe, devices: Iterable[DeviceProfile]) -> Pins:
    """The pins of a recipe's conversion: the pins of the devices that it is for, if its scheme supports them."""
    scheme = recipe.scheme
    if not scheme.is_static or getattr(scheme, "float_io", False):
        return Pins()
    meant = [each for each in devices if scheme.kind in each.schemes and each.pins.fits(scheme.activation_bits)]
    return Pins(
        inputs=tuple(dict.fromkeys(pinned for device in meant for pinned in device.pinned_inputs)),
        outputs=tuple(dict.fromkeys(pinned for device in meant for pinned in device.pinned_outputs)),
    )


def _pin_conflicts(spec: PipelineSpec, devices: Sequence[DeviceProfile]) -> Iterator[SpecError]:
    for index, recipe in enumerate(spec.recipes):
        pins = pins_of(recipe, devices)
        for kind, pinned in (("input", pins.inputs), ("output", pins.outputs)):
            names = [each.name for each in pinned]
            # Without a name, a pin refers to the only tensor.
            if len(set(names)) == len(names) and (None not in names or len(names) == 1):
                continue
            yield SpecError(
                f"devices pin the {kind} of one candidate to different values",
                where=f"recipes[{index}] ({recipe.name})",
                bound=f"one quantization of each {kind}",
                measured="; ".join(
                    f"{each.name or 'the only one'}: {each.dtype}, scale {each.scale:g}, zero point {each.zero_point}"
                    for each in pinned
                ),
                remedy="give each of these devices its own pipeline file",
            )
            break
