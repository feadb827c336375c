"""Remembers deep checks that a pipeline passed. A run repeats them only if their inputs have changed."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from pathlib import Path

from pydantic import ValidationError

from components.core.files import is_file, read_regular, sha256_of, sha256_of_bytes, write_atomically
from components.core.read_files import files_read, recording
from components.core.remembered_digests import digests_of
from components.core.values import FrozenModel, Watch, unwatched
from components.core.version import code_version
from edgemill.terminal import summaries
from pipelines.file.load import LoadedPipeline, SkippedRecipe
from pipelines.graph.sources import reads_digest

_LOG = logging.getLogger(__name__)

# Maximum number of entries for one pipeline. The oldest are dropped first.
_MOST = 8
# A larger file was not written by this module, or is not worth its space.
_MOST_BYTES = 1 << 20
_DISTRIBUTIONS = (".dist-info", ".egg-info")


class Passed(FrozenModel):
    """Checks that passed.

    Attributes:
        digest: SHA-256 over everything that they depend on.
        lines: Lines that a run prints about them.
        files: Path -> SHA-256 of each file that user code read, apart from the modules that its source names.
        skipped: Recipes that the checks found impossible, in a pipeline that skips them.
    """

    digest: str
    lines: tuple[str, ...]
    files: dict[str, str] = {}
    skipped: tuple[SkippedRecipe, ...] = ()

    def files_digest(self, folder: Path) -> str:
        """A digest (16 hexadecimal digits) of files' contents and of names relative to `folder`; "" without files."""
        names = {os.path.relpath(file, folder): sha256 for file, sha256 in self.files.items()}
        return sha256_of_bytes(json.dumps(names, sort_keys=True).encode())[:16] if names else ""


class _Memory(FrozenModel):
    """Passed checks, the newest last."""

    passed: tuple[Passed, ...] = ()


def check_once(
    loaded: LoadedPipeline, memory: Path, data: str, *, again: bool = False, watch: Watch = unwatched
) -> Passed:
    """Run the deep check, unless it has passed with the same inputs.

    Args:
        loaded: The pipeline.
        memory: The file of passed checks. A missing or damaged file counts as empty.
        data: The identities of its examples (`pipelines.graph.sources`).
        again: Run it even if it has passed.
        watch: Called with the current check.

    Returns:
        The passed checks, with a line for each recipe and step that changes layers.

    Raises:
        DataError: A file that user code read can't be read.
        PipelineFileError: The check failed. Failures are never remembered.
    """
    digest = digest_of_inputs(loaded, data)
    passed = None if again else recall(memory, digest)
    if passed is not None:
        _LOG.info("the deep check is skipped, because it passed before with the same inputs")
        return passed
    from pipelines.checks.dry_run import dry_run

    with recording():
        checked, previews = dry_run(loaded, watch)
    files = _digests(files_read({Path(os.path.realpath(Path.cwd())), loaded.file.parent}), memory)
    skipped = tuple(one for one in checked.skipped if one not in loaded.skipped)
    passed = Passed(digest=digest, lines=summaries(previews), files=files, skipped=skipped)
    remember(memory, passed)
    return passed


def digest_of_inputs(loaded: LoadedPipeline, data: str) -> str:
    """The SHA-256 over everything that the deep check depends on.

    It covers the parsed pipeline file and device profiles, the identities of the examples, the user's modules and their
    imports, their declared `reads`, the model, the schema, Edgemill's own source, and the names and versions of
    installed packages. Nothing is imported. Other files that user code reads are in `Passed.files`.
    """
    spec = loaded.spec
    references = [spec.task, *filter(None, [spec.preprocess])]
    references += [spec.examples.function] if spec.examples.kind == "generator" else []
    references += [reference for metric in spec.evaluate.metrics for reference in metric.references]
    references += [reference for recipe in spec.recipes for step in recipe.steps for reference in step.references()]
    modules = {reference.partition(":")[0] for reference in references}
    schema, baseline = spec.examples.schema_file, spec.baseline
    # Steps refer to their previews as text, which code versions don't follow.
    ours = {"pipelines.checks.dry_run", "edgemill.terminal", __name__}
    ours |= {step.preview.partition(":")[0] for recipe in spec.recipes for step in recipe.steps}
    inputs = {
        "pipeline": spec.model_dump(mode="json"),
        "devices": [device.model_dump(mode="json") for device in loaded.devices],
        "data": data,
        "schema": sha256_of(Path(schema)) if schema else None,
        "model": sha256_of(Path(baseline.path)) if baseline.kind == "pretrained" else None,
        "reads": reads_digest(spec.reads),
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


def recall(memory: Path, digest: str) -> Passed | None:
    """Checks of these inputs that passed; None if they are not remembered, or a file that user code read changed."""
    return next((one for one in _read(memory) if one.digest == digest and _unchanged(one.files, memory)), None)


def _unchanged(files: dict[str, str], memory: Path) -> bool:
    paths = [Path(file) for file in files]
    return all(map(is_file, paths)) and _digests(paths, memory) == files


def _digests(files: list[Path], memory: Path) -> dict[str, str]:
    found = digests_of(files, memory.with_name("task_file_digests.json"))
    return {str(file): digest for file, digest in found.items()}


def remember(memory: Path, passed: Passed) -> None:
    """Record that checks have passed."""
    others = [other for other in _read(memory) if other.digest != passed.digest]
    content = _Memory(passed=(*others, passed)[-_MOST:]).model_dump_json(indent=1).encode() + b"\n"
    if len(content) <= _MOST_BYTES:
        write_atomically(memory, content)


def _read(memory: Path) -> tuple[Passed, ...]:
    try:
        if memory.stat().st_size > _MOST_BYTES:
            return ()
        return _Memory.model_validate_json(read_regular(memory)).passed
    except (OSError, ValidationError):
        return ()
