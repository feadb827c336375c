"""The names of the inputs and outputs of a TFLite file."""

from __future__ import annotations

from typing import Any


def by_name(interpreter: Any, side: str) -> dict[str, dict[str, Any]]:
    """Details of the inputs or outputs, by their names in the file's signature or else their tensor names."""
    details = interpreter.get_input_details() if side == "inputs" else interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        named = runner.get_input_details() if side == "inputs" else runner.get_output_details()
        # One tensor can be several outputs.
        if {detail["index"] for detail in named.values()} == {detail["index"] for detail in details}:
            places = [detail["index"] for detail in details]
            held = {detail["index"]: detail for detail in details}
            ordered = sorted(named, key=lambda name: places.index(named[name]["index"]))
            return {name: held[named[name]["index"]] for name in ordered}
    return {_plain(detail["name"]): detail for detail in details}


def _plain(name: str) -> str:
    """`serving_default_image:0` is the input `image`. Outputs may differ only in the number after the colon."""
    plain = name.removeprefix("serving_default_")
    return plain.removesuffix(":0")
