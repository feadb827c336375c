"""`edgemill doctor` and `edgemill --version`: the requirements of pipelines, and whether this machine meets them."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer
from rich.table import Table
from rich.text import Text

from components.core.errors import EdgemillError
from edgemill.commands.run import place_of
from edgemill.contract import print_json
from edgemill.exit_codes import ExitCode
from edgemill.terminal import terminal
from pipelines.file.environment import Environment
from pipelines.report.status import versions

# TFX -> the Pythons that it runs on, and the releases that belong to it. A test compares them with requirements/*.in.
GENERATIONS = {
    "1.16": (
        ("3.10", "3.11"),
        {"tensorflow": "2.16", "tf-keras": "2.16", "ml-metadata": "1.16", "apache-beam": "2.61"},
    ),
    "1.21": (
        ("3.12", "3.13"),
        {"tensorflow": "2.21", "tf-keras": "2.21", "ml-metadata": "1.21", "apache-beam": "2.77"},
    ),
}
# Distribution -> the import statement of runs, and what needs the distribution.
TOOLS = {
    "ethos-u-vela": ("import ethosu.vela.vela", "devices with a `vela` evaluator"),
    "tflite-micro": ("from tflite_micro import runtime", "devices with a `tflm` evaluator"),
    "ai-edge-quantizer": (
        "import numpy.typing, ai_edge_quantizer",
        "`calibration_method`, `keep_float`, and 4-bit weights",
    ),
}
_LIBRARIES = ("import tensorflow", "import ml_metadata", "import apache_beam", "import tfx")
_IMPORT_SECONDS = 300
_GIB = 1 << 30
# The memory that a process of a run needs, and the disk space for the example, with a margin.
_MEMORY_GIB, _DISK_GIB = 4, 2

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """The finding about one subject, and how to fix it if it is not `ok`. Only a `problem` prevents pipelines from
    running.
    """

    subject: str
    state: Literal["ok", "warning", "problem"]
    found: str
    remedy: str = ""


def print_versions(*, as_json: bool) -> None:
    """Print the versions of Edgemill, its generation of TFX, and the libraries, one per line or as JSON."""
    libraries = versions()
    edgemill, generation = libraries.pop("edgemill", None), generation_of(libraries.get("tfx"))
    if as_json:
        print_json({"edgemill": edgemill, "generation": generation, "libraries": libraries})
        return
    typer.echo(f"edgemill {edgemill or 'not installed'}")
    if generation:
        typer.echo(f"generation TFX {generation} (Python {' and '.join(GENERATIONS[generation][0])})")
    for name, number in libraries.items():
        typer.echo(f"{name} {number}")


def generation_of(tfx: str | None) -> str | None:
    """The generation that a version of TFX belongs to, or None if there isn't one."""
    return next((one for one in GENERATIONS if tfx is not None and tfx.startswith(f"{one}.")), None)


def examine_and_print(
    root: Path | None,
    metadata_url: str | None,
    environment_file: Path | None,
    *,
    deep: bool,
    as_json: bool,
    quiet: bool = False,
) -> ExitCode:
    """Print the findings, and return the exit status.

    Raises:
        SpecError: The root or the environment file cannot be used at all.
    """
    place = place_of(environment_file, None, root, metadata_url, ())
    findings = [*_machine(place), *examine_libraries(versions()), *_tools(), *_stores(place)]
    findings += examine_imports([*_LIBRARIES, *(statement for statement, _ in TOOLS.values())]) if deep else ()
    problems = [one for one in findings if one.state == "problem"]
    if as_json:
        content = {"ready": not problems, "findings": [asdict(one) for one in findings]}
        print_json(content)
    elif quiet:
        for one in problems:
            print(f"edgemill: {one.subject}: {one.found}. Remedy: {one.remedy}", file=sys.stderr)
    else:
        _print(findings)
    return ExitCode.NODE_FAILED if problems else ExitCode.OK


def _print(findings: Iterable[Finding]) -> None:
    table = Table("subject", "state", "found and how to fix it")
    for one in findings:
        remedy = f". Remedy: {one.remedy}" if one.remedy else ""
        table.add_row(Text(one.subject), Text(one.state, style=_STYLES[one.state]), Text(one.found + remedy))
    terminal().print(table)


def _machine(place: Environment) -> Iterator[Finding]:
    import psutil

    yield Finding("system", "ok", f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver()).strip()}")
    yield examine_processor(platform.machine(), _processor_flags(), psutil.cpu_count() or 1)
    memory = psutil.virtual_memory()
    enough = memory.available >= _MEMORY_GIB * _GIB
    yield Finding(
        "memory",
        "ok" if enough else "warning",
        f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB available",
        "" if enough else f"free up {_MEMORY_GIB} GiB, which one process of a run can need",
    )
    yield _root(place.root)


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def examine_processor(machine: str, flags: set[str], cores: int) -> Finding:
    """Whether TensorFlow's wheels run on a processor. Unknown flags count as sufficient."""
    if machine == "x86_64" and flags and "avx" not in flags:
        return Finding(
            "processor",
            "problem",
            "no AVX, which TensorFlow's wheels use",
            "use a processor or a virtual machine with AVX",
        )
    return Finding("processor", "ok", f"{cores} cores" + (", AVX" if "avx" in flags else ""))


def _root(root: Path) -> Finding:
    import psutil

    existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
    try:
        # Permissions don't show what a network or pseudo file system accepts.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        found = f"{root} cannot be written: {existing}: {error.strerror}"
        return Finding("root", "problem", found, "choose another --root, or grant access")
    free = psutil.disk_usage(str(existing)).free
    enough = free >= _DISK_GIB * _GIB
    remedy = "" if enough else "free up space, or choose another --root; `edgemill clean` removes old runs"
    return Finding("root", "ok" if enough else "warning", f"{root}, {free / _GIB:.1f} GiB free", remedy)


def examine_libraries(found: dict[str, str]) -> Iterator[Finding]:
    """Whether the versions of Python and the libraries belong to one generation of TFX."""
    setup = "run `make setup`, which installs locked versions"
    python = ".".join(found["python"].split(".")[:2])
    tfx = found.get("tfx")
    generation = generation_of(tfx)
    if generation is None:
        known = " or ".join(GENERATIONS)
        yield Finding("tfx", "problem", f"{tfx or 'not installed'} (expected: {known})", setup)
        return
    pythons, libraries = GENERATIONS[generation]
    yield Finding("tfx", "ok", f"{tfx}, generation TFX {generation}")
    if python in pythons:
        yield Finding("python", "ok", found["python"])
    else:
        yield Finding("python", "problem", f"{found['python']} (expected: {' or '.join(pythons)})", setup)
    for name, expected in libraries.items():
        number = found.get(name)
        fits = number is not None and number.startswith(f"{expected}.")
        # TensorFlow has distributions of other names, such as tensorflow-cpu.
        missing: Literal["warning", "problem"] = "warning" if name == "tensorflow" and number is None else "problem"
        words = f"{number or 'not installed'} (expected: {expected})"
        yield Finding(name, "ok", str(number)) if fits else Finding(name, missing, words, setup)


def _tools() -> Iterator[Finding]:
    for distribution, (_, purpose) in TOOLS.items():
        try:
            yield Finding(distribution, "ok", importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            remedy = f"run `make setup` if you need it: {purpose}"
            yield Finding(distribution, "warning", "not installed", remedy)


def _stores(place: Environment) -> Iterator[Finding]:
    from pipelines.storage.access import check_writable
    from pipelines.storage.metadata_connection import open_store, place_of_store

    shown = place_of_store(place.metadata_url)
    file = place.metadata_url.partition("sqlite:")[2]
    try:
        if file and not Path(file).is_file():
            yield Finding("metadata store", "ok", f"{shown} does not exist yet; the first run creates it")
        else:
            open_store(place.metadata_url)
            yield Finding("metadata store", "ok", shown)
    except EdgemillError as error:
        yield _refused("metadata store", error)
    if place.pipeline_root is not None:
        try:
            check_writable(place.pipeline_root)
            yield Finding("pipeline root", "ok", place.pipeline_root)
        except EdgemillError as error:
            yield _refused("pipeline root", error)


def _refused(subject: str, error: EdgemillError) -> Finding:
    text, _, remedy = str(error).rpartition(". Remedy: ")
    return Finding(subject, "problem", text, remedy)


def examine_imports(statements: Iterable[str]) -> Iterator[Finding]:
    """Run import statements, each in its own process."""
    for statement in statements:
        # `components` chooses tf-keras. A separate process survives a library that ends it.
        code = f"import components; {statement}"
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=_IMPORT_SECONDS
            )
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            done, last = None, f"no answer within {_IMPORT_SECONDS} s"
        if done is not None and done.returncode == 0:
            yield Finding(statement, "ok", "works")
        else:
            yield Finding(statement, "problem", last, "run `make clean` and `make setup`")
