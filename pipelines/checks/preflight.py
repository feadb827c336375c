"""Checks before the first node runs that need only the file system, not TensorFlow.

The task and other user code is found and parsed, but never imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from components.baseline.lambdas import refuse_code
from components.baseline.source import recognize, refuse_step
from components.core.errors import DataError, EdgemillError, ModelError, RegistryError, SpecError, some_of
from components.core.files import described, is_file, is_folder
from components.device_check.installed import tool_errors
from components.ingest.sources import read_by_tfx, wildcards_in
from components.object_store.bucket import is_address
from components.push.champion import find_champion, unreadable
from components.push.registry import open_registry
from components.push.signed import check_signable
from components.spec.baseline import PretrainedBaseline
from components.spec.registry import by_field
from pipelines.checks.example_files import column_errors, tfrecord_errors
from pipelines.checks.examples.made import structure_errors
from pipelines.checks.references import reference_errors
from pipelines.file.impossible import Refusals, allow_skipping, placed_refusals, without_impossible
from pipelines.file.load import LoadedPipeline, PipelineFileError, read_pipeline
from pipelines.file.metric_attributes import with_attributes
from pipelines.file.spec import ArrayExamples, DeclaredSplits, Examples, GeneratorExamples, MadeExamples, PipelineSpec


def preflight(
    file: Path, *, data: bool = True, registry: bool = True, tools: bool = True, skip_impossible: bool = False
) -> LoadedPipeline:
    """Read a pipeline file and run all checks that don't need TensorFlow.

    Args:
        file: The pipeline file.
        data, registry, tools: Whether this machine reads the examples, whether it writes to the registry, and whether
            it runs the devices' tools.
        skip_impossible: Whether to skip impossible recipes even if the file does not request it.

    Returns:
        The pipeline, without recipes that the format of the model rules out if they can be skipped.

    Raises:
        PipelineFileError: All errors at once.
    """
    loaded, errors = read_pipeline(file)
    refused: Refusals = {}
    if loaded is not None:
        loaded = allow_skipping(loaded) if skip_impossible else loaded
        loaded, misdeclared = with_attributes(loaded, errors)
        errors += [
            *misdeclared,
            *reference_errors(loaded),
            *_reads_errors(loaded.spec),
            *(_data_errors(loaded.spec.examples) if data else ()),
            *(_shared_file_errors(loaded.spec) if data else ()),
            *(column_errors(loaded.spec) if data else ()),
            *_unsupported_names(loaded),
            *(_registry_errors(loaded) if registry else ()),
            *(_tool_errors(loaded) if tools else ()),
        ]
        refused, wrong = _checked_baseline(loaded)
        errors += wrong
    if errors or loaded is None:
        stops = loaded is not None and loaded.spec.impossible == "stop"
        raise PipelineFileError(file, [*errors, *(placed_refusals(loaded, refused) if loaded and stops else ())])
    return without_impossible(loaded, refused)


def _tool_errors(loaded: LoadedPipeline) -> Iterator[SpecError]:
    for device in loaded.devices:
        yield from tool_errors(device.name, device.evaluators)


def _data_errors(examples: Examples) -> Iterator[EdgemillError]:
    if is_address(examples.path) and not isinstance(examples, MadeExamples):
        return
    if "://" in examples.path:
        yield SpecError(
            "examples cannot be read from an address of this kind",
            where="examples.path",
            bound="a folder"
            if isinstance(examples, MadeExamples)
            else "a folder, s3://BUCKET/PREFIX, or gs://BUCKET/PREFIX",
            measured=examples.path,
            remedy="copy the files to a local folder, and use that",
        )
        return
    folder = Path(examples.path)
    if not is_folder(folder):
        yield DataError(
            "there is no such folder" if (found := described(folder)) == "nothing" else "this is not a folder",
            where="examples.path",
            bound="the folder of the examples",
            measured=folder if found == "nothing" else f"{folder}, {found}",
            remedy="correct it; it is relative to the pipeline file",
        )
        return
    if error := path_error("examples.path", folder):
        yield error
        return
    records: dict[Path, None] = {}  # Each file of all splits, once.
    complete = True
    for split, pattern in examples.patterns.items():
        files = sorted(file for file in folder.glob(pattern) if is_file(file))
        if not any(file.stat().st_size for file in files):
            yield DataError(
                f"there are no examples for the split {split or 'all'!r}",
                where="examples.splits",
                bound=f"files that match {pattern!r} in {folder}",
                measured="only empty files" if files else _entries(folder),
                remedy="put the data there, or correct the pattern",
            )
            complete = False
        yield from _unread_errors(split or "all", folder, pattern, files)
        yield from _link_errors(split or "all", folder, pattern)
        yield from filter(None, (_name_error("examples.path", file) for file in files))
        if examples.kind == "tfrecord":
            records.update(dict.fromkeys(files))
    yield from tfrecord_errors(records)
    if complete and isinstance(examples, MadeExamples):
        yield from structure_errors(examples)
    if examples.schema_file and "://" not in examples.schema_file and not is_file(Path(examples.schema_file)):
        yield DataError(
            "there is no such file", where="examples.schema_file", measured=examples.schema_file, remedy="correct it"
        )


def _entries(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"none; the folder contains {some_of(names)}" if names else "none"


def _unread_errors(split: str, folder: Path, pattern: str, files: list[Path]) -> Iterator[EdgemillError]:
    """Yield an error if ExampleGen would read files other than those that the checks and the lineage use."""
    read, matched = read_by_tfx(folder, pattern), set(files)
    for what, differing in (
        ("TFX does not read all files that match", matched - read),
        ("TFX would also read something other than files of examples", read - matched),
    ):
        if differing:
            yield DataError(
                f"{what}: {some_of(map(str, sorted(differing)))}",
                where=f"examples.splits, split {split!r}",
                bound="regular files, not behind a link to a folder; for TFX, `**` is at least one folder",
                measured=f"the pattern {pattern!r}",
                remedy="move them, or write a pattern that matches the same files in Python's `glob` and in TFX",
            )


def _link_errors(split: str, folder: Path, pattern: str) -> Iterator[EdgemillError]:
    """Yield an error for broken links. TFX fails when it reads their modification times."""
    links = {path: found for path in sorted(folder.glob(pattern)) if "link" in (found := described(path))}
    if links:
        yield DataError(
            f"these example files are links to missing files: {some_of(map(str, links))}",
            where=f"examples.splits, split {split!r}",
            bound="files, or links to files",
            measured=", ".join(sorted(set(links.values()))),
            remedy="put their files back, or remove the links",
        )


def _reads_errors(spec: PipelineSpec) -> Iterator[EdgemillError]:
    for index, file in enumerate(spec.reads.files):
        if "://" not in file and not is_file(Path(file)) and not is_folder(Path(file)):
            yield SpecError(
                "there is no such file or folder",
                where=f"reads.files[{index}]",
                measured=file if (found := described(Path(file))) == "nothing" else f"{file}, {found}",
                remedy="correct it; it is relative to the pipeline file",
            )


def path_error(field: str, path: Path) -> SpecError | None:
    """The error for a path that TFX can't handle, because it looks like a pattern or isn't UTF-8."""
    if special := wildcards_in(path):
        return SpecError(
            f"TFX reads the characters {special} of a path as a pattern, so it would read folders other than this one",
            where=field,
            bound="a path without * ? [ and backslash",
            measured=path,
            remedy="rename the folder, or move the project",
        )
    return _name_error(field, path)


def _name_error(field: str, path: Path) -> SpecError | None:
    shown = str(path).encode(errors="backslashreplace").decode()
    if shown == str(path):
        return None
    return SpecError(
        "this path is not UTF-8, which TFX requires",
        where=field,
        bound="a name in UTF-8",
        measured=shown,
        remedy="rename it",
    )


def _shared_file_errors(spec: PipelineSpec) -> Iterator[EdgemillError]:
    """Yield an error for each split that shares files with the evaluation split, which makes metrics too optimistic."""
    splits, held_out = spec.examples.splits, spec.evaluate.split
    if not isinstance(splits, DeclaredSplits) or held_out not in splits.patterns:
        return
    # Splits of arrays can be in one file under different names, and the files of a generator are not examples.
    if isinstance(spec.examples, ArrayExamples | GeneratorExamples):
        return
    if "://" in spec.examples.path or not is_folder(Path(spec.examples.path)):
        return
    evaluated = _by_inode(spec.examples.path, splits.patterns[held_out])
    for split, pattern in splits.patterns.items():
        shared = sorted(evaluated.keys() & _by_inode(spec.examples.path, pattern)) if split != held_out else []
        if shared:
            names = sorted(str(evaluated[inode]) for inode in shared)
            yield DataError(
                f"the split {split!r} has files of the evaluation split {held_out!r}: {some_of(names)}",
                where=f"examples.splits.patterns.{split}",
                bound="no file in both",
                measured=f"{len(names)} of {len(evaluated)} evaluation files",
                remedy="narrow one of the patterns, or move the files apart",
            )


def _by_inode(folder: str, pattern: str) -> dict[tuple[int, int], Path]:
    """Map device and inode to each nonempty file, to detect symbolic and hard links to one file."""
    files = [file for file in sorted(Path(folder).glob(pattern)) if is_file(file)]
    statuses = [(file, file.stat()) for file in files]
    return {(status.st_dev, status.st_ino): file for file, status in statuses if status.st_size}


def _checked_baseline(loaded: LoadedPipeline) -> tuple[Refusals, list[EdgemillError]]:
    """Return the recipes that the kind of the model rules out, and the errors of the model itself."""
    baseline = loaded.spec.baseline
    if not isinstance(baseline, PretrainedBaseline) or "://" in baseline.path:
        return {}, []
    path = Path(baseline.path)
    try:
        source = recognize(path, baseline.signature)
        if source.trains and not baseline.trust_code:
            refuse_code(path)
    except ModelError as error:
        return {}, [error]
    except OSError as error:
        unreadable = ModelError(
            f"the model cannot be read: {error.strerror}",
            where="baseline.path",
            remedy="check the path and its permissions",
        )
        return {}, [unreadable]
    if source.trains:
        return {}, []
    recipes = loaded.spec.recipes
    return {each.name: [refuse_step(source, step.kind, path) for step in each.steps] for each in recipes}, []


def _registry_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    usable = True
    for field, registry in by_field(loaded.spec.push).items():
        if any("://" in path for path in registry.paths.values()):
            usable = False  # Reported by `pipelines.file.cross_field_checks`.
            continue
        try:
            open_registry(registry).check_writable()
        except RegistryError as error:
            yield error.placed(next((f"{field}.{name}" for name in registry.paths), field))
            usable = False
    if not usable:
        return
    try:
        check_signable(list(by_field(loaded.spec.push).values()), [device.device_class for device in loaded.devices])
    except (RegistryError, SpecError) as error:
        yield error.placed("push")
        return
    if loaded.spec.gate.champion == "require":
        registries = tuple(by_field(loaded.spec.push).values())
        found = (find_champion(registries, device, loaded.spec.name)[0] for device in loaded.devices)
        yield from filter(None, map(unreadable, found))


def _unsupported_names(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    """Yield an error for each name that a registry can't use in addresses. Otherwise, only the push would find it."""
    names = {"name": loaded.spec.name, **{f"device {one.name}": one.device_class for one in loaded.devices}}
    for field, registry in by_field(loaded.spec.push).items():
        for where, name in names.items():
            if not re.fullmatch(registry.name_pattern, name):
                yield SpecError(
                    f"{field}: a registry of the kind {registry.kind} refuses this name",
                    where=where,
                    bound=f"a name that matches {registry.name_pattern}",
                    measured=repr(name),
                    remedy="rename it, or push to a registry of another kind",
                )
