"""Checks that user code to which a pipeline file refers exists. It is parsed, but never imported."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.core.errors import EdgemillError, SpecError, one_of
from components.core.files import is_file
from components.core.version import OURS, find_source
from pipelines.file.load import LoadedPipeline
from pipelines.file.spec import GeneratorExamples
from pipelines.file.user_folders import package_called_like_ours
from pipelines.file.wording import nearest


def reference_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    """Yield an error for each reference to the user's code whose module or name can't be found."""
    yield from _object_errors("task", loaded.spec.task)
    if loaded.spec.preprocess:
        yield from _object_errors("preprocess", loaded.spec.preprocess)
    if isinstance(loaded.spec.examples, GeneratorExamples):
        yield from _object_errors("examples.function", loaded.spec.examples.function)
    yield from _named_errors(loaded)
    yield from _twin_errors(loaded)


def _named_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    for index, metric in enumerate(loaded.spec.evaluate.metrics):
        for reference in metric.references:
            yield from _object_errors(f"evaluate.metrics[{index}].function", reference)
    for index, recipe in enumerate(loaded.spec.recipes):
        for number, step in enumerate(recipe.steps):
            for reference in step.references():
                yield from _object_errors(f"recipes[{index}].steps[{number}]", reference)


def _twin_errors(loaded: LoadedPipeline) -> Iterator[EdgemillError]:
    """Yield an error if the pipeline file's folder has the task's module, but the working directory has its own."""
    folder = loaded.file.parent
    for field, reference in (("task", loaded.spec.task), ("preprocess", loaded.spec.preprocess or "")):
        name = reference.partition(":")[0].partition(".")[0]
        beside = next(filter(is_file, (folder / name / "__init__.py", folder / f"{name}.py")), None)
        found = find_source(name)
        if beside and found and Path.cwd() in found.parents and not found.samefile(beside):
            yield SpecError(
                f"there are two modules {name!r}, and Python imports the one in the working directory",
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
            remedy="correct the name, or run from the folder that contains it",
        )
        return
    try:
        tree = ast.parse(source.read_bytes())
    # Python's parser raises the other errors for code that is nested too deeply, and for a NUL byte.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        # Python 3.12 and later add details to a MemoryError, but they don't name a cause in the file.
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        reason = "it is nested too deeply" if isinstance(error, MemoryError) else reason
        yield SpecError(
            f"the module {module!r} is not Python: {reason}{line}",
            where=field,
            measured=source,
            remedy=f"run `python -m py_compile {shlex.quote(str(source))}` and fix the errors that it reports",
        )
        return
    names = set(_top_level_names(tree.body))
    if name not in names and not names & {"*", "__getattr__"}:
        public = sorted(each for each in names if not each.startswith("_"))
        yield SpecError(
            f"the module {module!r} defines no {name!r} at its top level{nearest(name, public)}",
            where=field,
            bound=one_of(public) if public else "a name that it assigns, defines, or imports: it has none",
            measured=name,
            remedy="correct the name after the colon",
        )


def _top_level_names(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that the statements of a module define, not those inside its functions and classes."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                # `import a.b` defines `a`.
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case _:
                yield from _assigned(statement)
                for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                    for block in getattr(statement, field, ()):
                        yield from _top_level_names(getattr(block, "body", ()) if _is_clause(block) else [block])


def _is_clause(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler | ast.match_case)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement assigns itself, without the statements inside it."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        # Names in a lambda or a comprehension are local.
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            continue
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        ]
