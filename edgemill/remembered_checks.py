"""Remembers deep checks that a pipeline passed. A run repeats them only if their inputs have changed."""

from __future__ import annotations

import json
import logging
import platform
import sys
from pathlib import Path

from pydantic import ValidationError

from components.core.files import read_regular, sha256_of, sha256_of_bytes, write_atomically
from components.core.values import FrozenModel
from components.core.version import code_version
from edgemill.terminal import summaries
from pipelines.file.load import LoadedPipeline

_LOG = logging.getLogger(__name__)

# Entries of one pipeline. The oldest are dropped first.
_MOST = 8
# A larger file was not written here, or is not worth its space.
_MOST_BYTES = 1 << 20
_DISTRIBUTIONS = (".dist-info", ".egg-info")


class Passed(FrozenModel):
    """Checks that passed: the digest of everything that they depend on, and what a run prints about them."""

    digest: str
    lines: tuple[str, ...]


class _Memory(FrozenModel):
    """Passed checks, the newest last."""

    passed: tuple[Passed, ...] = ()


def check_once(loaded: LoadedPipeline, memory: Path, data: str, *, again: bool = False) -> tuple[str, ...]:
    """Run the deep check, unless it has passed with the same inputs. Returns a line for each step that changes layers.

    `memory` is the file of passed checks; a missing or damaged file counts as empty. `data` is the examples' identities
    (`pipelines.graph.sources`). With `again`, the check runs even if it has passed.

    Raises:
        PipelineFileError: The check failed. The error is the first one found; failures are never remembered.
    """
    digest = digest_of_inputs(loaded, data)
    lines = None if again else recall(memory, digest)
    if lines is not None:
        _LOG.info("the deep check has passed with the same inputs before; it is not repeated")
        return lines
    from pipelines.checks.dry_run import dry_run

    lines = summaries(dry_run(loaded))
    remember(memory, digest, lines)
    return lines


def digest_of_inputs(loaded: LoadedPipeline, data: str) -> str:
    """The SHA-256 over everything that the deep check depends on.

    It covers the parsed pipeline file and device profiles, the identities of the examples, the user's modules and their
    imports, the model, the schema, Edgemill's own source, and the names and versions of installed packages. Nothing is
    imported. Other files that user code reads are not covered.
    """
    spec = loaded.spec
    references = [spec.task, *filter(None, [spec.preprocess])]
    references += [reference for recipe in spec.recipes for step in recipe.steps for reference in step.references()]
    modules = {reference.partition(":")[0] for reference in references}
    schema, baseline = spec.examples.schema_file, spec.baseline
    # Steps name their previews as text, which no version follows.
    ours = {"pipelines.checks.dry_run", "edgemill.terminal", __name__}
    ours |= {step.preview.partition(":")[0] for recipe in spec.recipes for step in recipe.steps}
    inputs = {
        "pipeline": spec.model_dump(mode="json"),
        "devices": [device.model_dump(mode="json") for device in loaded.devices],
        "data": data,
        "schema": sha256_of(Path(schema)) if schema else None,
        "model": sha256_of(Path(baseline.path)) if baseline.kind == "pretrained" else None,
        "modules": {name: code_version(name) for name in sorted(modules)},
        "ours": {name: code_version(name) for name in sorted(ours)},
        "python": [platform.python_version(), platform.machine()],
        "packages": _packages(),
    }
    return sha256_of_bytes(json.dumps(inputs, sort_keys=True).encode())


def _packages() -> list[str]:
    """Names and versions of installed packages, from the names of their metadata folders."""
    folders = [Path(entry) for entry in sys.path if entry and Path(entry).is_dir()]
    return sorted({found.name for folder in folders for found in folder.iterdir() if found.suffix in _DISTRIBUTIONS})


def recall(memory: Path, digest: str) -> tuple[str, ...] | None:
    """What checks of these inputs printed when they passed; None if they are not remembered."""
    return next((passed.lines for passed in _read(memory) if passed.digest == digest), None)


def remember(memory: Path, digest: str, lines: tuple[str, ...]) -> None:
    """Record that checks have passed."""
    others = [passed for passed in _read(memory) if passed.digest != digest]
    kept = (*others, Passed(digest=digest, lines=lines))[-_MOST:]
    content = _Memory(passed=kept).model_dump_json(indent=1).encode() + b"\n"
    if len(content) <= _MOST_BYTES:
        write_atomically(memory, content)


def _read(memory: Path) -> tuple[Passed, ...]:
    try:
        if memory.stat().st_size > _MOST_BYTES:
            return ()
        return _Memory.model_validate_json(read_regular(memory)).passed
    except (OSError, ValidationError):
        return ()
