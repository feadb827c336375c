"""Compiles one candidate with Arm's Vela in a child process, and reads facts from its tables.

Vela is Arm's compiler for Ethos-U NPUs (`ethos-u-vela` on PyPI). Its cycles are estimates from a model of the NPU and
its memories, not measurements. Its figures exclude operators that fall back to the CPU.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from components.device_check.exchange import MODEL_FILE
from components.device_check.tool import run_tool
from components.facts.device import CpuOperator, ToolFailure, VelaFacts, VelaOutcome
from components.spec.devices.device_tools import SRAM_ONLY, VelaEvaluator

_STEM = MODEL_FILE.removesuffix(".tflite")
_WARNING = re.compile(
    r"^Warning \(supported operators\) operator: \S+, ofm: '(?P<output>.*)'\nReason: (?P<reason>(?:.+\n?)+)",
    re.MULTILINE,
)


def measure_with_vela(content: bytes, operators: int, evaluator: VelaEvaluator) -> VelaOutcome:
    """Compile a TFLite file with the given number of operators for an NPU.

    Returns:
        Facts, or the reason why there are none.
    """
    options = [
        *("--accelerator-config", evaluator.accelerator),
        *("--config", "Arm/vela.ini"),
        *("--system-config", evaluator.system_config),
        *("--memory-mode", evaluator.memory_mode),
        *("--show-cpu-operations", "--verbose-performance"),
    ]
    with tempfile.TemporaryDirectory(prefix="edgemill-vela-") as name:
        folder = Path(name)
        (folder / MODEL_FILE).write_bytes(content)
        log = run_tool("Vela", "vela", folder, evaluator.timeout_s, options)
        if isinstance(log, ToolFailure):
            return log
        return facts(
            summary=(folder / f"{_STEM}_summary_{evaluator.system_config}.csv").read_text(),
            per_layer=(folder / f"{_STEM}_per-layer.csv").read_text(),
            said=log,
            operators=operators,
            compiled_bytes=(folder / f"{_STEM}_vela.tflite").stat().st_size,
            evaluator=evaluator,
        )


def facts(
    *, summary: str, per_layer: str, said: str, operators: int, compiled_bytes: int, evaluator: VelaEvaluator
) -> VelaFacts:
    """Parse Vela's output.

    Args:
        summary, per_layer: Content of Vela's CSV files.
        said: Vela's standard output, the only place with the reasons for CPU fallbacks.
        operators: The number of operators in the TFLite file.
        compiled_bytes: Size of the compiled file.
        evaluator: The compilation target.
    """
    (row,) = csv.DictReader(io.StringIO(summary))
    layers = list(_layers(per_layer))
    reasons = {found["output"]: " ".join(found["reason"].split()) for found in _WARNING.finditer(said)}
    known = VelaFacts(
        accelerator=evaluator.accelerator,
        system_config=evaluator.system_config,
        memory_mode=evaluator.memory_mode,
        clock_hz=float(row["core_clock"]),
        operators=operators,
        cpu_operators=tuple(
            CpuOperator(
                name=layer["Original Operator"],
                output=layer["Name"],
                # Vela reports an operator with a fused activation under the name of the activation's input.
                reason=reasons.get(layer["Name"], reasons.get(f"{layer['Name']}_act", "")),
            )
            for layer in layers
            if layer["Target"] == "CPU"
        ),
        compiled_bytes=compiled_bytes,
    )
    if all(layer["Target"] == "CPU" for layer in layers):
        return known  # Vela's figures are all zero here, which would look like the best possible result.
    on_chip, off_chip = (_bytes(row[f"{place}_chip_flash_memory_used"]) for place in ("on", "off"))
    # If weights are in SRAM, Vela reports them as being in on-chip flash that is as fast as SRAM.
    in_sram = on_chip if evaluator.memory_mode == SRAM_ONLY else 0
    return known.model_copy(
        update={
            "cycles": int(row["cycles_total"]),
            "sram_bytes": _bytes(row["sram_memory_used"]) + in_sram,
            "dram_bytes": _bytes(row["dram_memory_used"]),
            "flash_bytes": on_chip + off_chip - in_sram,
            "macs": int(row["nn_macs"]),
        }
    )


def _layers(table: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the per-layer table. Its last column, a name, isn't quoted and can contain commas."""
    header, *rows = table.splitlines()
    columns = header.split(",")
    for row in rows:
        yield dict(zip(columns, row.split(",", len(columns) - 1), strict=True))


def _bytes(kibibytes: str) -> int:
    return round(float(kibibytes) * 1024)
