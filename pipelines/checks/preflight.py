"""Checks before the first node runs that need only the file system, not TensorFlow.

The task and other user code is found and parsed, but never imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from components.baseline.lambdas import refuse_code
from components.baseline.pretrained import has_keras_structure
from components.core.errors import DataError, EdgemillError, ModelError, RegistryError, SpecError, some_of
from components.core.files import is_file, is_folder
from components.core.version import find_source
from components.ingest.sources import read_by_tfx, wildcards_in
from components.push.registry import open_registry
from components.spec.baseline import PretrainedBaseline
from pipelines.checks.example_files import column_errors, tfrecord_errors
from pipelines.file.impossible import Refusals, allow_skipping, placed_refusals, without_impossible
from pipelines.file.load import LoadedPipeline, PipelineFileError, read_pipeline
from pipelines.file.metric_attributes import with_attributes
from pipelines.file.spec import DeclaredSplits, Examples, PipelineSpec
from pipelines.file.user_folders import OURS, package_called_like_ours


def preflight(file: Path, *, data: bool = True, registry: bool = True, skip_impossible: bool = False) -> LoadedPipeline:
    """Read a pipeline file and run all checks that don't need TensorFlow.

    Args:
        file: The pipeline file.
        data, registry: Whether this machine reads the examples, and whether it writes to the registry.
        skip_impossible: Whether to skip impossible recipes even if the file does not say so.

    Returns:
        The pipeline, without recipes that the format of the model rules out if they are to be skipped.

    Raises:
        PipelineFileError: With every error at once.
    """
    loaded, errors = read_pipeline(file)
    refused: Refusals = {}
    if loaded is not None:
        loaded = allow_skipping(loaded) if skip_impossible else loaded
        loaded, misdeclared = with_attributes(loaded, errors)
        errors += [
            *misdeclared,
            *_object_errors("task", loaded.spec.task),
            *(_object_errors("preprocess", loaded.spec.preprocess) if loaded.spec.preprocess else ()),
            *_reference_errors(loaded),
            *_twin_errors(loaded),
            *(_data_errors(loaded.spec.examples) if data else ()),
            *(_shared_file_errors(loaded.spec) if data else ()),
            *(column_errors(loaded.spec) if data else ()),
            *(_registry_errors(loaded) if registry else ()),
        ]
        refused, wrong = _checked_baseline(loaded)
        errors += wrong
    if errors or loaded is None:
        stops = loaded is not None and loaded.spec.impossible == "stop"
        raise PipelineFileError(file, [*errors, *(placed_refusals(loaded, refused) if loaded and stops else ())])
    return without_impossible(loaded, refused)


def _reference_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    for index, metric in enumerate(loaded.spec.evaluate.metrics):
        for reference in metric.references:
            yield from _object_errors(f"evaluate.metrics[{index}].function", reference)
    for index, recipe in enumerate(loaded.spec.recipes):
        for number, step in enumerate(recipe.steps):
            for reference in step.references():
                yield from _object_errors(f"recipes[{index}].steps[{number}]", reference)


def _twin_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    """Yield an error if the pipeline file's folder has the task's module, but the working directory has another one."""
    folder = loaded.file.parent
    for field, reference in (("task", loaded.spec.task), ("preprocess", loaded.spec.preprocess or "")):
        name = reference.partition(":")[0].partition(".")[0]
        beside = next(filter(is_file, (folder / name / "__init__.py", folder / f"{name}.py")), None)
        found = find_source(name)
        if beside and found and Path.cwd() in found.parents and not found.samefile(beside):
            yield SpecError(
                f"there are two modules {name!r}, and Python takes the one in the working directory",
                where=field,
                bound=beside,
                measured=found,
                remedy="run from the pipeline file's folder, or rename one of them",
            )


def _object_errors(field: str, reference: str) -> Iterator[EdgemillError]:
    module, _, name = reference.partition(":")
    source = find_source(module)
    if source is None:
        top = module.partition(".")[0]
        namesake = package_called_like_ours(top)
        if namesake is not None:
            yield SpecError(
                f"the module {module!r} is looked up in Edgemill itself: one of your packages has the same name",
                where=field,
                bound=f"a top-level package not called {', '.join(OURS)}",
                measured=namesake,
                remedy="rename it, and refer to the module by the new name",
            )
            return
        yield SpecError(
            f"the module {module!r} cannot be found",
            where=field,
            bound="a module below the working directory, the pipeline file's folder, or the Python path",
            measured=reference,
            remedy="correct the name, or run from the folder that holds it",
        )
        return
    try:
        tree = ast.parse(source.read_bytes())
    # Python's parser raises the other errors for code that is nested too deeply, and for a NUL byte.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        # Python 3.12 and later say more of a MemoryError, in words that name no cause in the file.
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        reason = "it is nested too deeply" if isinstance(error, MemoryError) else reason
        yield SpecError(
            f"the module {module!r} is not Python: {reason}{line}",
            where=field,
            measured=source,
            remedy=f"run `python -m py_compile {source}` and fix the errors that it reports",
        )
        return
    names = set(_top_level_names(tree))
    if name not in names and "*" not in names:
        yield SpecError(
            f"the module {module!r} defines no {name!r}",
            where=field,
            bound=f"one of {', '.join(sorted(n for n in names if not n.startswith('_'))) or 'nothing: it is empty'}",
            measured=name,
            remedy="correct the name after the colon",
        )


def _top_level_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name


def _data_errors(examples: Examples) -> Iterator[EdgemillError]:
    if "://" in examples.path:
        return
    folder = Path(examples.path)
    if not is_folder(folder):
        yield DataError(
            "there is no such folder",
            where="examples.path",
            measured=folder,
            remedy="correct it; it is relative to the pipeline file",
        )
        return
    if error := path_error("examples.path", folder):
        yield error
        return
    records: dict[Path, None] = {}  # each file of all splits once
    for split, pattern in examples.patterns.items():
        files = sorted(file for file in folder.glob(pattern) if is_file(file))
        if not any(file.stat().st_size for file in files):
            yield DataError(
                f"there are no examples for the split {split or 'all'!r}",
                where="examples.splits",
                bound=f"files that match {pattern!r} in {folder}",
                measured="only empty files" if files else "none",
                remedy="put the data there, or correct the pattern",
            )
        yield from _unread_errors(split or "all", folder, pattern, files)
        yield from filter(None, (_name_error("examples.path", file) for file in files))
        if examples.kind == "tfrecord":
            records.update(dict.fromkeys(files))
    yield from tfrecord_errors(records)
    if examples.schema_file and "://" not in examples.schema_file and not is_file(Path(examples.schema_file)):
        yield DataError(
            "there is no such file", where="examples.schema_file", measured=examples.schema_file, remedy="correct it"
        )


def _unread_errors(split: str, folder: Path, pattern: str, files: list[Path]) -> Iterator[EdgemillError]:
    """Yield an error if ExampleGen would read other files than those that the checks and the lineage go by."""
    read, matched = read_by_tfx(folder, pattern), set(files)
    for what, differing in (
        ("TFX does not read all files that match", matched - read),
        ("TFX also reads what is not a file of examples", read - matched),
    ):
        if differing:
            yield DataError(
                f"{what}: {some_of(map(str, sorted(differing)))}",
                where=f"examples.splits, split {split!r}",
                bound="regular files, not behind a link to a folder; for TFX, `**` is at least one folder",
                measured=f"the pattern {pattern!r}",
                remedy="move them, or write a pattern that means the same to both",
            )


def path_error(field: str, path: Path) -> SpecError | None:
    """The error for a path that TFX can't take: it would read it as a pattern, or it is not UTF-8."""
    if special := wildcards_in(path):
        return SpecError(
            f"TFX reads the characters {special} of a path as a pattern, so it would read other folders than this one",
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
    """Return the recipes that the format of the model rules out, and the errors of the model itself."""
    if isinstance(loaded.spec.baseline, PretrainedBaseline) and "://" not in loaded.spec.baseline.path:
        path = Path(loaded.spec.baseline.path)
        try:
            structured = has_keras_structure(path)
            if structured and not loaded.spec.baseline.trust_code:
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
        if not structured:
            return {recipe.name: (_untrainable(path),) for recipe in loaded.spec.recipes if recipe.steps}, []
    return {}, []


def _untrainable(path: Path) -> ModelError:
    return ModelError(
        "this SavedModel is a graph without Keras layers, but the recipe trains its layers",
        where=str(path),
        bound="a .keras or .h5 file, or a SavedModel that `model.save` of tf-keras wrote",
        measured="no keras_metadata.pb",
        remedy="name the Keras model as baseline, or remove the recipe's steps",
    )


def _registry_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    if any("://" in path for path in loaded.spec.push.paths.values()):
        return  # reported by `pipelines.file.cross_field_checks`
    try:
        open_registry(loaded.spec.push).check_writable()
    except RegistryError as error:
        yield error
