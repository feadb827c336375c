"""Finds operators that a device lacks, before anything is trained. The gate refuses candidates with such operators."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from components.core.errors import some_of
from components.spec.devices.device import DeviceProfile
from components.spec.schemes.limits import OPERATORS, OperatorLimit

# Loops and recurrent layers of the float file, which other operators compute in the files of most recipes.
_LOWERED = frozenset({"WHILE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"})


def lacking_operators(kinds: Collection[str], devices: Sequence[DeviceProfile]) -> dict[str, tuple[str, ...]]:
    """The operators that devices lack.

    Args:
        kinds: Operators of the model's float file. If there is a recurrent layer among them, nothing is known about the
            others.
        devices: The devices.

    Returns:
        Name of a device -> the operators. Devices that have all operators are left out.
    """
    if _LOWERED & {*kinds}:
        return {}
    found = {device.name: tuple(sorted({*kinds} - {*(device.operators or kinds)})) for device in devices}
    return {name: operators for name, operators in found.items() if operators}


def warning_of(device: str, operators: Sequence[str]) -> str:
    """A sentence about the operators that a device lacks, and what to do."""
    known = {name: OPERATORS[name].remedy for name in operators if name in OPERATORS}
    cures = dict.fromkeys(known.get(name, OperatorLimit.remedy) for name in operators)
    return (
        f"the model needs {some_of(operators)}, which {device} doesn't have, so the gate of {device} refuses every "
        f"candidate. To fix it, {', or '.join(cures)}; or choose a device that has the operator"
    )
