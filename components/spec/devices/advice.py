"""Marks the parts of advice about schemes that don't help the devices of a pipeline file. Doesn't import TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from components.core.errors import EdgemillError
from components.spec.devices.device import DeviceProfile
from components.spec.scheme import SCHEMES

E = TypeVar("E", bound=EdgemillError)

# In advice, float32 is the type of an input; as a scheme, it doesn't make a file smaller.
_SCHEME = re.compile(rf"\b({'|'.join(kind for kind in SCHEMES if kind != 'float32')})\b")
_FLOAT_OPTION = re.compile(r"(?:add|by|use) `(float_fallback|keep_float)\b")


def for_devices(remedy: str, scheme: str | None, devices: Sequence[DeviceProfile]) -> str:
    """Mark the parts of the advice that no device accepts, and add what the devices accept instead.

    Args:
        remedy: Advice that may name schemes, or options that keep layers in float.
        scheme: Kind of the scheme that the advice is for; None if it isn't for a single recipe.
        devices: The devices of the pipeline file. Without any, the advice stays unchanged.
    """
    accepted = {kind for device in devices for kind in device.schemes if _may_hold(device, kind)}
    in_vain = [kind for kind in dict.fromkeys(_SCHEME.findall(remedy)) if kind not in accepted]
    holders = [device for device in devices if scheme in device.schemes]
    if holders and all(device.integer_only for device in holders):
        in_vain += [f"`{option}`" for option in dict.fromkeys(_FLOAT_OPTION.findall(remedy))]
    if not devices or not in_vain:
        return remedy
    named = [kind for kind in dict.fromkeys(_SCHEME.findall(remedy)) if kind in accepted]
    others = named or [kind for kind in SCHEMES if kind in accepted and kind != scheme]
    instead = f"; they accept {' and '.join(others)}" if others else "; remove the recipe, or extend a device profile"
    return f"{remedy} (the devices of this file do not accept {' or '.join(in_vain)}{instead})"


def with_advice(error: E, scheme: str | None, devices: Sequence[DeviceProfile]) -> E:
    """The same error with `for_devices` advice."""
    remedy = for_devices(error.remedy, scheme, devices)
    if remedy == error.remedy:
        return error
    return type(error)(error.what, where=error.where, bound=error.bound, measured=error.measured, remedy=remedy)


def _may_hold(device: DeviceProfile, kind: str) -> bool:
    return not device.integer_only or SCHEMES[kind].is_static
