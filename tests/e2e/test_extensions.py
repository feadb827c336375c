"""A new step, a new scheme, and a new registry need only what CONTRIBUTING.md lists.

A copy of the source gets a toy of each, and runs a whole pipeline with them in one process.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubeflow.environments import cluster, write_environment
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e

ROOMS = ("components", "pipelines", "kubeflow", "edgemill")
ARCHITECTURE = "tests/test_architecture.py"

# What an engineer writes, by path: the modules of each extension.
STEP = {
    "components/noise/__init__.py": '"""Noise: a toy."""\n',
    "components/spec/steps/noise.py": """
        from typing import Literal

        from components.spec.steps.fine_tuning import FineTuning


        class NoiseStep(FineTuning):
            shell = "components.noise.component:Noise"
            preview = "components.noise.noise:preview"
            depends_on = frozenset()

            kind: Literal["noise"]
            epochs: int = 1
            deviation: float = 0.001
        """,
    "components/noise/noise.py": """
        import numpy as np

        from components.facts.training import LayerPlan, TrainingReport
        from components.model.keras_model import export, output_names, save_keras


        def preview(model, step, scheme):
            return tuple(
                LayerPlan(layer=layer.name, kind=type(layer).__name__, mode="as it is", note=f"noise {step.deviation}")
                for layer in model.layers
                if layer.weights
            )


        def add_noise(inputs, step):
            model, _ = inputs.load()
            draw = np.random.default_rng(step.seed)
            model.set_weights([one + draw.normal(0, step.deviation, one.shape) for one in model.get_weights()])
            export(model, inputs.folder, output_names(model))
            save_keras(model, inputs.folder)
            return TrainingReport(recipe=inputs.name, kind=step.kind, epochs=(), best_epoch=0)
        """,
    "components/noise/component.py": """
        from components.fine_tune.shell import training_step
        from components.spec.steps.noise import NoiseStep


        @training_step
        def Noise(inputs, step: NoiseStep):
            from components.noise.noise import add_noise

            return add_noise(inputs, step)
        """,
}
SCHEME = {
    "components/spec/schemes/toy.py": """
        from typing import ClassVar, Literal

        from components.spec.schemes.base import StaticScheme


        class Toy(StaticScheme):
            weight_bits: ClassVar[Literal[8]] = 8
            activation_bits: ClassVar[Literal[16]] = 16

            kind: Literal["toy_wi8_ai16"] = "toy_wi8_ai16"
        """,
}
REGISTRY = {
    "components/push/memory.py": """
        from components.core.errors import RegistryError
        from components.core.files import sha256_of_bytes
        from components.push.registry import Located
        from components.push.release import NO_FILES, Release

        RELEASES, CHANNELS = {}, {}


        class InMemory:
            def __init__(self, spec):
                self._channel = spec.channel

            def check_writable(self):
                pass

            def put(self, device_class, name, model, manifest, files=NO_FILES):
                version = sha256_of_bytes(model)[:16]
                release = Release(
                    version=version, path=f"memory:{device_class}/{name}/{version}", manifest=manifest
                )
                RELEASES[release.path] = release
                return release

            def commit(self, release):
                place, _, version = release.path.rpartition("/")
                CHANNELS[place, self._channel] = version

            def current(self, device_class, name):
                place = f"memory:{device_class}/{name}"
                version = CHANNELS.get((place, self._channel))
                return RELEASES[f"{place}/{version}"] if version else None

            def versions(self, device_class, name):
                place = f"memory:{device_class}/{name}/"
                return tuple(sorted(path.removeprefix(place) for path in RELEASES if path.startswith(place)))

            @staticmethod
            def resolve(target):
                if target not in RELEASES:
                    raise RegistryError("there is no such release", where=target)
                release = RELEASES[target]
                return Located(
                    address=target,
                    sha256=release.manifest.sha256,
                    manifest_sha256=release.manifest_sha256,
                    manifest=target,
                )

            @staticmethod
            def point_at(address, channel):
                place, _, version = address.rpartition("/")
                before = CHANNELS.get((place, channel))
                CHANNELS[place, channel] = version
                return before, RELEASES[address]

            @classmethod
            def channels(cls, address):
                place = address.rpartition("/")[0]
                for (where, channel), version in CHANNELS.items():
                    if where == place:
                        yield channel, cls.resolve(f"{place}/{version}")

            @staticmethod
            def exists(address):
                return address in RELEASES
        """,
}
MEMORY_OPTIONS = """
class MemoryRegistry(BaseRegistry):
    backend: ClassVar[str] = "components.push.memory:InMemory"
    address_prefix: ClassVar[str] = "memory:"

    kind: Literal["memory"]


"""
# The row of each: the file, what stands there, and what stands there afterward.
ROWS = {
    "components/spec/recipe.py": (
        "AnyStep = PruneStep",
        "from components.spec.steps.noise import NoiseStep\nAnyStep = NoiseStep | PruneStep",
    ),
    "components/spec/scheme.py": (
        "AnyScheme = Float32",
        "from components.spec.schemes.toy import Toy\nAnyScheme = Toy | Float32",
    ),
    "components/spec/registry.py": (
        "AnyRegistry = LocalRegistry",
        MEMORY_OPTIONS + "AnyRegistry = MemoryRegistry | LocalRegistry",
    ),
    ARCHITECTURE: ('"ingest",', '"ingest",\n        "noise",'),
}
DRIVER = """
import json, pathlib, sys, traceback
from typer.testing import CliRunner
from edgemill.main import app

root, commands = json.loads(sys.argv[1])
answers = []
for arguments in commands:
    if "RELEASE" in arguments:
        (summary,) = pathlib.Path(root).glob("small/runs/*/summary.json")
        release = json.loads(summary.read_text())["releases"][0]["path"]
        arguments = [release if one == "RELEASE" else one for one in arguments]
    result = CliRunner().invoke(app, arguments)
    failure = "".join(traceback.format_exception(*result.exc_info)) if result.exit_code else ""
    answers.append([result.exit_code, result.output + failure if failure else result.stdout])
    if result.exit_code:
        break
print(json.dumps(answers))
"""


@dataclass
class Extended:
    """Where the pipeline is, what each command answered, and the folder of the run."""

    folder: Path
    answers: dict[str, str]
    run: Path


def with_toys(folder: Path) -> Path:
    """A copy of the source with the toys."""
    for room in ROOMS:
        shutil.copytree(room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    (folder / ARCHITECTURE).parent.mkdir()
    shutil.copy(ARCHITECTURE, folder / ARCHITECTURE)
    for name, source in {**STEP, **SCHEME, **REGISTRY}.items():
        path = folder / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source).lstrip())
    for name, (before, after) in ROWS.items():
        path = folder / name
        assert path.read_text().count(before) == 1, f"{name}: {before}"
        path.write_text(path.read_text().replace(before, after))
    return folder


def python_in(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_toys(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Extended:
    """The answers of all commands, and what the run left."""
    small = SmallPipeline(tmp_path_factory.mktemp("extended"))
    device = yaml.safe_load(Path("pipelines/devices/phone_cpu.yaml").read_text())
    (small.folder / "device.yaml").write_text(yaml.safe_dump({**device, "schemes": ["toy_wi8_ai16"]}))
    small.spec["devices"] = ["device.yaml"]
    small.spec["recipes"] = [{"name": "noisy", "steps": [{"kind": "noise"}], "scheme": "toy_wi8_ai16"}]
    small.spec["push"] = {"kind": "memory"}
    file, root = str(small.write()), str(small.folder / "root")
    environment = write_environment(small.folder, cluster(folders={".": "/project"}))
    commands: dict[str, list[str]] = {
        "validate": [file, "--deep"],
        "run": [file, "--root", root],
        "report": ["latest", "--root", root],
        "lineage": ["RELEASE", "--root", root, "--json"],
        "rollback": ["RELEASE", "--root", root],
        "compile": [file, "-o", str(small.folder / "compiled.yaml"), "-e", str(environment)],
    }
    asked = [root, [[name, *rest] for name, rest in commands.items()]]
    done = python_in(source, "-c", DRIVER, json.dumps(asked))
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert [code for code, _ in answers] == [0] * len(commands), answers[-1][1]
    (run,) = Path(root).glob("small/runs/*")
    return Extended(small.folder, {name: text for name, (_, text) in zip(commands, answers, strict=True)}, run)


def test_toys_keep_the_rules_of_the_architecture(source: Path) -> None:
    done = python_in(source, "-m", "pytest", "-q", "-p", "no:cacheprovider", ARCHITECTURE)
    assert done.returncode == 0, done.stdout


def test_toys_pass_validation(extended: Extended) -> None:
    assert "noise 0.001" in extended.answers["validate"]


def test_toys_run_to_a_release(extended: Extended) -> None:
    summary = json.loads((extended.run / "summary.json").read_text())
    states = {node["id"]: node["state"] for node in summary["nodes"]}
    assert set(states.values()) == {"complete"}
    assert [name for name in states if name.startswith("noise__")]
    (decision,) = summary["decisions"]
    assert decision["chosen"] == "noisy"
    (candidate,) = summary["evaluation"]["candidates"]
    assert candidate["outcome"]["inspection"]["float_tensors"] == []
    assert candidate["outcome"]["inspection"]["dtype_counts"]["INT16"]


def test_release_is_in_memory(extended: Extended) -> None:
    (release,) = json.loads((extended.run / "summary.json").read_text())["releases"]
    assert release["path"] == f"memory:phone_cpu/small/{release['version']}"
    assert not (extended.folder / "registry").exists()
    assert extended.answers["rollback"].strip().endswith(f"{release['version']}, was {release['version']}")


def test_toys_are_in_the_report(extended: Extended) -> None:
    page = (extended.run / "report.html").read_text()
    assert "toy_wi8_ai16" in page
    assert "noise" in page


def test_toys_are_in_the_lineage(extended: Extended) -> None:
    lineage = json.loads(extended.answers["lineage"])

    def labels(node: dict[str, Any]) -> list[str]:
        return [node["label"], *(label for child in node["children"] for label in labels(child))]

    found = labels(lineage)
    assert [label for label in found if label.startswith("noise__")]
    assert {"convert__noisy", "baseline"} <= set(found)


def test_toys_compile_for_kubeflow(extended: Extended) -> None:
    pipeline, _ = yaml.safe_load_all((extended.folder / "compiled.yaml").read_text())
    tasks = pipeline["root"]["dag"]["tasks"]
    assert [name for name in tasks if name.startswith("noise-")]
    push = json.loads(tasks["push-phone-cpu"]["inputs"]["parameters"]["spec"]["runtimeValue"]["constant"])
    assert push["registries"] == [{"kind": "memory", "channel": "stable"}]
