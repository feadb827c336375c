"""The required content of the image: paths of this machine, modules that a pipeline file refers to, and examples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from components.core.errors import DataError, SpecError
from components.core.files import sha256_of, sha256_of_bytes
from components.core.version import find_source, is_installed
from pipelines.file.spec import PipelineSpec

# Where the Containerfile puts Edgemill, including the shipped pipelines and their data.
EDGEMILL_IN_IMAGE = "/opt/edgemill"
_EDGEMILL_HERE = Path(__file__).resolve().parents[1]


class ImageFolders:
    """Folders of this machine and their paths in the image. The innermost folder that contains a path applies.

    Args:
        folders: Absolute folder of this machine -> absolute folder in the image.
    """

    def __init__(self, folders: dict[str, str]) -> None:
        everything = {str(_EDGEMILL_HERE): EDGEMILL_IN_IMAGE, **folders}
        self._folders = sorted(
            ((Path(here), PurePosixPath(there)) for here, there in everything.items()),
            key=lambda pair: len(pair[0].parts),
            reverse=True,
        )

    def find(self, path: Path) -> str | None:
        """The path in the image. None if no folder contains it."""
        for here, there in self._folders:
            if path.is_relative_to(here):
                return str(there / path.relative_to(here))
        return None

    def place(self, path: str, field: str) -> str:
        """The path in the image. Raises a SpecError that names the field if no folder contains it."""
        found = self.find(Path(path))
        if found is None:
            raise SpecError(
                "the image does not have this path",
                where=field,
                bound=f"a path below {', '.join(str(here) for here, _ in self._folders)}",
                measured=path,
                remedy="copy a folder that contains it into the image (build_image.sh --project), and name both in "
                "`kubeflow.folders` of the environment file",
            )
        return found

    def python_path(self, spec: PipelineSpec) -> tuple[str, ...]:
        """Folders of the image that the user's modules are imported from. Edgemill's own modules don't need a folder.

        Raises:
            SpecError: A module is not below any folder. Installed packages are not checked: the image must have them.
        """
        roots: dict[str, None] = {}
        for field, reference in _references(spec):
            module = reference.partition(":")[0]
            source = find_source(module)
            if source is None or is_installed(source):
                continue
            here = source.parents[len(module.split(".")) - (source.name != "__init__.py")]
            if here != _EDGEMILL_HERE:
                self.place(str(source), field)
                roots[self.place(str(here), field)] = None
        return tuple(roots)


def _references(spec: PipelineSpec) -> Iterable[tuple[str, str]]:
    yield "task", spec.task
    if spec.preprocess is not None:
        yield "preprocess", spec.preprocess
    if spec.examples.kind == "generator":
        yield "examples.function", spec.examples.function
    for metric in spec.evaluate.metrics:
        for reference in metric.references:
            yield f"evaluate.metrics.{metric.name}", reference
    for recipe in spec.recipes:
        for step in recipe.steps:
            for reference in step.references():
                yield f"recipes.{recipe.name}", reference


def examples_digest(folder: Path, patterns: Iterable[str]) -> str:
    """Hexadecimal SHA-256 over the names and digests of all files that match the patterns, sorted by name."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    return sha256_of_bytes("".join(lines).encode())


def check_examples(folder: Path, patterns: Iterable[str], expected: str) -> None:
    """Raise a DataError if the image lacks the examples that the pipeline was compiled with.

    Kubeflow's cache compares the command line and not the data, so the command line contains the digest.
    """
    found = examples_digest(folder, patterns)
    if found != expected:
        raise DataError(
            "the examples in the image differ from those that this pipeline was compiled with",
            where=str(folder),
            bound=f"sha256 {expected}",
            measured=found,
            remedy="build the image and compile the pipeline from the same data",
        )
