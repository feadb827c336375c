"""Whatever a file holds: the command works, or one error says what is wrong, within ten seconds."""

import copy
import gzip
import io
import json
import math
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.facts.manifest import MANIFEST_NAME, write_manifest
from components.push.folder import FolderRegistry
from components.push.release import ReleaseManifest
from components.spec.recipe import Recipe
from components.spec.registry import LocalRegistry
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.file.load import SHIPPED_DEVICES
from pipelines.runs.run import RunPlan
from pipelines.storage.metadata_connection import open_store
from tests.pipelines.report.conftest import make_summary
from tests.small_pipeline import SmallPipeline, frame, serialize

CPU_SECONDS, WALL_SECONDS = 10, 300
RUN = "20260701-000000-abcdef"

# Text that YAML, JSON, paths, or our own fields take for something other than a word.
TOKENS = st.sampled_from(
    [
        *("", " ", "\t", "\n", "\0", "\ufeff", "\x85", "\u2028", "\ud7ff", "é" * 300, "a" * 5000, "../" * 50),
        *("{", "[", "]", "}", "- ", "? ", ": ", "&a ", "*a", "<<: ", "!", "!!binary x", "!!python/object:os.x "),
        *("---\n", "...\n", "%YAML 9.9\n", "@", "`", "'", '"', "#", "\\", "\\u0000", "${HOME}", "{{a}}", "[bold]"),
        *(".inf", "-.inf", ".nan", "1e999", "0x", "1_000", "1:60:60", "0o17", "-0", "9" * 400, "2001-99-99", "~"),
        *("/dev/zero", "/dev/null", "/dev/null/x", "/proc/self/mem", "/" * 9, "..", ".", "pipe", "loop", "folder"),
        *(":", "a:b:c", "os:path", "small", "label", "int8", "train", "eval", "**", "train[", "*" * 60, "s3://a"),
        *("[[" * 600, "{a: " * 300, "- " * 300, "&a [*a]", "null", "NaN", "Infinity", "true", "1", "-1", "1.5", "|"),
    ]
)
NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 5e-324, math.inf, math.nan])
SCALARS = st.one_of(TOKENS, st.none(), st.booleans(), NUMBERS, st.text(max_size=20))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TOKENS, inner, max_size=3), max_leaves=6
)


@st.composite
def edited(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes are cut off, changed, inserted, or repeated."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 1, 4, 8, 100, 1 << 20])))
        repeated = st.just(content[start:end] * 2)
        new = draw(st.one_of(TOKENS.map(str.encode), st.binary(max_size=16), repeated))
        content = content[:start] + new + content[end:]
    return content


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """One place in a value of mappings, sequences, and scalars is another one, gone, or called something else."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 19)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        copy = value.copy()
        match draw(st.integers(0, 29)):
            case 0:
                del copy[key]
            case 1 if isinstance(copy, dict):
                copy[draw(TOKENS)] = copy.pop(key)
            case 2 if isinstance(copy, list):
                copy.insert(0, copy[key])
            case _:
                copy[key] = draw(changed(copy[key]))
        return copy
    # Most often of the same type, for what is read after types are checked.
    alike = TOKENS if isinstance(value, str) else NUMBERS if isinstance(value, int | float) else VALUES
    return draw(VALUES if draw(st.integers(0, 4)) == 0 else alike)


def fuzzed(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def ends() -> Iterator[None]:
    """Ten seconds of work, or five minutes of waiting on a busy machine, are a hang."""

    hung = []

    def stop(number: int, _: Any) -> None:
        hung.append(signal.Signals(number).name)
        raise TimeoutError(f"it hangs ({hung})")

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, CPU_SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, WALL_SECONDS)}
    before = {number: signal.signal(number, stop) for number in timers}
    try:
        for timer, seconds in timers.values():
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    # The error may have been caught where it was raised.
    assert not hung, hung


# Made once: of a command that is run, half of the time goes into making it.
COMMAND = typer.main.get_command(app)


def invoke(*arguments: str) -> tuple[int, str]:
    """The exit status, and what was written to standard error; other exceptions go through."""
    code, said, errors = 0, io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(errors):
        try:
            COMMAND.main(list(arguments), prog_name="edgemill")
        except SystemExit as end:
            code = int(end.code or 0)
    return code, errors.getvalue()


def says_why(*arguments: str) -> tuple[int, str]:
    """The same, of a command that works or ends with one error."""
    with ends():
        code, said = invoke(*arguments)
    assert code in {0, 1, 2}, said
    assert len([line for line in said.split("\n") if line.startswith("edgemill: ")]) == (code != 0), said
    assert "Traceback" not in said
    assert code == 0 or "Remedy: " in said
    return code, said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallPipeline:
    pipeline = SmallPipeline(tmp_path_factory.mktemp("fuzz"))
    (pipeline.folder / "folder").mkdir()
    (pipeline.folder / "loop").symlink_to("loop")
    os.mkfifo(pipeline.folder / "pipe")
    (pipeline.folder / "device.yaml").write_bytes((SHIPPED_DEVICES / "ethos_u55.yaml").read_bytes())
    pipeline.spec["devices"].append("device.yaml")
    pipeline.spec["examples"]["schema_file"] = "device.yaml"
    training = {"epochs": 1, "learning_rate": 0.01}
    steps = [
        {"kind": "prune", "sparsity": 0.75, "schedule": "constant", **training},
        {"kind": "cluster", "num_clusters": 8, "targets": [{"layers": ["d*"], "num_clusters": 4}], **training},
        {"kind": "qat", "configs": [{"layers": ["conv2d"], "weights": {"bits": 8}}], **training},
    ]
    ranges = {"kind": "percentile", "percentile": 99.9}
    pipeline.spec["recipes"] += [
        {"name": "trained", "scheme": "static_wi8_ai8", "steps": steps},
        {
            "name": "ranges",
            "scheme": {"kind": "static_wi8_ai8", "calibration_method": ranges, "keep_float": {"kind": "auto"}},
        },
    ]
    return pipeline


@fuzzed(120)
@given(data=st.data())
def test_pipeline_file(small: SmallPipeline, data: st.DataObject) -> None:
    spec = data.draw(changed(small.spec))
    content = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True).encode(errors="surrogatepass")
    small.file.write_bytes(data.draw(st.one_of(st.just(content), edited(content))))
    says_why("validate", str(small.file))


@fuzzed(60)
@given(data=st.data())
def test_device_profile(small: SmallPipeline, data: st.DataObject) -> None:
    small.write()
    profile = small.folder / "device.yaml"
    whole = (SHIPPED_DEVICES / "ethos_u55.yaml").read_bytes()
    spec = data.draw(changed(yaml.safe_load(whole)))
    content = yaml.safe_dump(spec, sort_keys=False).encode(errors="surrogatepass")
    profile.write_bytes(data.draw(st.one_of(st.just(content), edited(whole))))
    try:
        says_why("validate", str(small.file))
    finally:
        profile.write_bytes(whole)


PATHS = ["pipe", "loop", "/dev/zero", "a" * 5000, "/dev/null/x", "pipe/x", "loop/x", "/proc/self/mem", "nothing"]
FIELDS = ["devices", "path", "schema_file", "train", "root", "baseline"]


@pytest.mark.parametrize("path", [*PATHS, "a\0b"], ids=lambda path: repr(path[:20]))
def test_path_in_a_field(small: SmallPipeline, path: str) -> None:
    for field in FIELDS:
        spec = copy.deepcopy(small.spec)
        match field:
            case "devices":
                link = small.folder / "link.yaml"
                link.unlink(missing_ok=True)
                if "\0" not in path and len(path) < 5000:
                    link.symlink_to(path)
                spec["devices"] = ["link.yaml" if link.is_symlink() else f"{path}.yaml"]
            case "train":
                spec["examples"]["splits"]["patterns"]["train"] = path
            case "root":
                spec["push"]["root"] = path if path != "nothing" else "device.yaml"
            case "baseline":
                spec["baseline"] = {"kind": "pretrained", "path": path}
            case _:
                spec["examples"][field] = path
        small.file.write_text(yaml.safe_dump(spec))
        code, said = says_why("validate", str(small.file))
        # A file of the kernel's is one; what is in it, the deep check reads.
        assert code == 2 or (field, path) == ("schema_file", "/proc/self/mem"), (field, said)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:20])
def test_path_in_an_option(small: SmallPipeline, path: str) -> None:
    path = path if path.startswith("/") else str(small.folder / path)
    file, cron = str(small.write()), ["--cron", "0 0 * * *"]
    for arguments in (
        ["validate", path],
        ["run", path],
        ["run", file, "--root", path],
        ["run", file, "--environment", path],
        ["clean", "--keep-runs", "1", "--root", path],
        ["report", "--root", path],
        ["report", "--root", str(small.folder), "--metadata", f"sqlite:{path}"],
        ["lineage", path, "--root", str(small.folder)],
        ["verify", path, "--root", str(small.folder)],
        ["inspect", path],
        ["rollback", path],
        ["schedule", file, *cron, "--environment", path],
        ["schedule", file, *cron, "--output", path],
    ):
        # A root that is not there is made, and the run begins.
        if (arguments[0], Path(path).name) != ("run", "nothing"):
            says_why(*arguments)


@fuzzed(60)
@given(data=st.data())
def test_tfrecords(small: SmallPipeline, data: st.DataObject) -> None:
    small.write()
    zipped = data.draw(st.booleans())
    records = b"".join(frame(serialize({"image": np.zeros(16), "label": index % 3})) for index in range(5))
    damaged = data.draw(edited(records))
    content = data.draw(edited(gzip.compress(records)) | st.just(gzip.compress(damaged))) if zipped else damaged
    file = small.folder / "data" / ("train-1.tfrecord.gz" if zipped else "train-1.tfrecord")
    file.write_bytes(content)
    try:
        says_why("validate", str(small.file))
    finally:
        file.unlink()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A Keras model in both formats, as far as it is read without TensorFlow."""
    config = json.dumps(
        {
            "class_name": "Sequential",
            "config": {"name": "m", "layers": [{"class_name": "Dense", "config": {"name": "d", "units": 3}}]},
        }
    )
    file = tmp_path_factory.mktemp("models") / "m.h5"
    with h5py.File(file, "w") as archive:
        archive.attrs["keras_version"] = "2.16.0"
        archive.attrs["model_config"] = config
        archive.create_dataset("weights", data=np.zeros(100))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.16.0", "date_saved": "2026-07-01"}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", file.read_bytes())
    return {"m.h5": file.read_bytes(), "m.keras": zipped.getvalue()}


def pretrained(small: SmallPipeline, name: str, content: bytes) -> Path:
    (small.folder / name).write_bytes(content)
    file = small.folder / "pretrained.yaml"
    baseline = {"kind": "pretrained", "path": name}
    file.write_text(yaml.safe_dump({**small.spec, "baseline": baseline}))
    return file


@fuzzed(80)
@given(data=st.data())
def test_pretrained_model(small: SmallPipeline, model: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(model)))
    says_why("validate", str(pretrained(small, name, data.draw(edited(model[name])))))


class Reported:
    """A finished run of which only what `edgemill report` reads is there."""

    def __init__(self, root: Path) -> None:
        place = environment(root, None)
        summary = make_summary()
        assert summary.evaluation is not None
        # Pictures of fewer candidates take less time.
        evaluation = summary.evaluation.model_copy(update={"candidates": summary.evaluation.candidates[3::2]})
        self.root, self.files = root, dict[Path, bytes]()
        store = open_store(place.metadata_url)
        kinds = {
            name: store.put_context_type(mlmd.ContextType(name=name)) for name in ("pipeline", "pipeline_run", "node")
        }
        execution_type = store.put_execution_type(mlmd.ExecutionType(name="node"))
        artifact_type = store.put_artifact_type(mlmd.ArtifactType(name="Model"))
        contexts = [
            mlmd.Context(type_id=kinds[kind], name=name)
            for kind, name in (("pipeline", "small"), ("pipeline_run", RUN))
        ]
        shared = store.put_contexts(contexts)
        plan = RunPlan(
            pipeline="small", run_id=RUN, started=summary.started, nodes=(), devices=summary.devices, errors={}
        )
        self._keep(place.runs("small") / RUN / "run.json", plan.model_dump_json())
        for node, output, file, value, role in (
            ("evaluate", "evaluation", "report.json", evaluation, "evaluation"),
            ("calibrate", "sample", "audit.json", summary.audit, "calibration"),
            ("gate__phone_cpu", "blessing", "decision.json", summary.decisions[0], "decision"),
            ("push__phone_cpu", "pushed", "push.json", summary.releases[0], "release"),
        ):
            folder = place.artifacts("small") / node / output / "1"
            folder.mkdir(parents=True)
            (folder / file).write_text(value.model_dump_json())
            manifest = write_manifest(folder, file, role=role, parents={}, code_version="1")
            self._keep(folder / file, value.model_dump_json())
            self._keep(folder / MANIFEST_NAME, serialized(manifest).decode())
            (own,) = store.put_contexts([mlmd.Context(type_id=kinds["node"], name=f"small.{node}")])
            (execution,) = store.put_executions(
                [mlmd.Execution(type_id=execution_type, last_known_state=mlmd.Execution.COMPLETE)]
            )
            (artifact,) = store.put_artifacts(
                [mlmd.Artifact(type_id=artifact_type, uri=str(folder), state=mlmd.Artifact.LIVE)]
            )
            store.put_attributions_and_associations(
                [], [mlmd.Association(execution_id=execution, context_id=one) for one in (*shared, own)]
            )
            event = mlmd.Event(execution_id=execution, artifact_id=artifact, type=mlmd.Event.OUTPUT)
            event.path.steps.add().key = output
            store.put_events([event])

    def _keep(self, path: Path, content: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        self.files[path] = path.read_bytes()


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return Reported(tmp_path_factory.mktemp("reported"))


@fuzzed(40)
@given(data=st.data())
def test_reports_and_manifests(reported: Reported, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(reported.files)))
    whole = reported.files[path]
    content = json.dumps(data.draw(changed(json.loads(whole)))).encode(errors="surrogatepass")
    content = data.draw(st.one_of(st.just(content), edited(whole)))
    manifest = path.with_name(MANIFEST_NAME)
    # Hypothesis may end an example in any draw, so the files are as before until the last one.
    fitting = data.draw(st.booleans()) and manifest in reported.files and manifest != path
    try:
        path.write_bytes(content)
        if fitting:
            # As if the node had written it so: it is read beyond its digest.
            write_manifest(path.parent, path.name, role="evaluation", parents={}, code_version="1")
        says_why("report", "--root", str(reported.root))
        says_why("clean", "--keep-runs", "1", "--dry-run", "--root", str(reported.root))
    finally:
        for file in {path, manifest} & reported.files.keys():
            file.write_bytes(reported.files[file])


@fuzzed(60)
@given(data=st.data())
def test_release(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    spec, model = LocalRegistry(kind="local", root=str(tmp_path_factory.mktemp("registry"))), b"a model"
    registry = FolderRegistry(spec)
    recipe = Recipe.model_validate({"name": "int8", "scheme": "static_wi8_ai8"})
    manifest = ReleaseManifest(
        name="small",
        device_class="phone",
        device="phone",
        sha256=sha256_of_bytes(model),
        bytes=len(model),
        recipe=recipe,
    )
    pushed = registry.put("phone", "small", model, manifest)
    registry.commit(pushed)
    release = Path(pushed.path)
    file = data.draw(
        st.sampled_from(
            [*sorted(file for file in release.rglob("*") if file.is_file()), release.parent / "stable.json"]
        )
    )
    whole = file.read_bytes()
    damaged = edited(whole)
    if file.suffix == ".json":
        damaged |= changed(json.loads(whole)).map(lambda value: json.dumps(value).encode(errors="surrogatepass"))
    file.write_bytes(data.draw(damaged))
    says_why("rollback", str(release), "--files-only")


def test_what_nothing_was_done_to_is_valid(
    small: SmallPipeline, model: dict[str, bytes], reported: Reported, tmp_path: Path
) -> None:
    assert invoke("validate", str(small.write())) == (0, "")
    for name, content in model.items():
        assert invoke("validate", str(pretrained(small, name, content))) == (0, "")
    assert invoke("report", "--root", str(reported.root)) == (0, "")
