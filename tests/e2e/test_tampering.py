"""A finished run of which one file was changed: an error that names the artifact, or the honest result; no other."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tfx.types import artifact_utils
from typer.testing import CliRunner

from components.core.errors import TamperedError
from components.core.files import sha256_of
from components.core.stock_artifacts import check_content
from components.core.values import serialized
from components.facts.manifest import MANIFEST_NAME, Manifest, digests_of
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.file.load import load_pipeline
from pipelines.graph.build import pipeline_nodes
from pipelines.runs.metadata import run_records
from pipelines.runs.verification import breaks
from pipelines.storage.metadata_connection import open_store
from tests.node_ids import node_of
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallPipeline, Ran]:
    small = SmallPipeline(tmp_path_factory.mktemp("finished"))
    ran = Ran(small.write(), "small")
    assert ran.code == ExitCode.OK, ran.output
    return small, ran


@pytest.fixture
def artifacts(finished: tuple[SmallPipeline, Ran]) -> Iterator[Path]:
    """The artifacts' folder for a test that changes some; undone afterward."""
    small, ran = finished
    folder, kept = ran.root / "small" / "artifacts", small.folder / "kept"
    shutil.copytree(folder, kept)
    spec = json.dumps(small.spec)
    yield folder
    small.spec = json.loads(spec)
    shutil.rmtree(folder)
    kept.rename(folder)


def only(artifacts: Path, node: str, output: str) -> Path:
    return min((artifacts / node / output).iterdir(), key=lambda path: int(path.name))


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@contextmanager
def changed(path: Path, *, fitting: bool = False) -> Iterator[Path]:
    """As long as the context lasts, a file has a different content; and its artifact a manifest that fits, if asked.

    Yields the file that gives it away.
    """
    folder = next((one for one in path.parents if (one / MANIFEST_NAME).exists()), path.parent)
    held = {one: one.read_bytes() for one in {path, folder / MANIFEST_NAME} if one.exists()}
    content = held[path]
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if content else b"x")
    if fitting:
        make_fit(folder)
    try:
        yield folder / MANIFEST_NAME if fitting else path
    finally:
        for one, before in held.items():
            one.write_bytes(before)


def make_fit(folder: Path) -> None:
    """Rewrite the manifest of an artifact for what is in its folder."""
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    digests = {"files": digests_of(folder), "sha256": sha256_of(folder / manifest.content)}
    (folder / MANIFEST_NAME).write_bytes(serialized(manifest.model_copy(update=digests)))


class Nodes:
    """The nodes of a finished run, each of which can be executed again on what its run read."""

    def __init__(self, small: SmallPipeline, ran: Ran) -> None:
        assert ran.folder is not None
        self.store = open_store(environment(ran.root, None).metadata_url)
        self._nodes = {node.id: node for node in pipeline_nodes(load_pipeline(small.file), "again", digests="{}")}
        written = {node: one.outputs for node, one in run_records(self.store, "small", ran.folder.name).items()}
        self._read = {
            node.id: {name: written[one.producer_component_id][one.output_key] for name, one in node.inputs.items()}
            for node in self._nodes.values()
        }

    def readers(self, artifact: Any) -> list[str]:
        return [node for node, read in self._read.items() if artifact.id in {one.id for one in read.values()}]

    def execute(self, node: str, scratch: Path) -> None:
        """What the launcher does of a node, without its driver and its publisher; outputs lie in `scratch`."""
        inputs = {}
        for name, one in self._read[node].items():
            (kind,) = self.store.get_artifact_types_by_id([one.type_id])
            inputs[name] = [artifact_utils.deserialize_artifact(kind, one)]
        outputs: dict[str, list[Any]] = {}
        for name, channel in self._nodes[node].outputs.items():
            outputs[name] = [channel.type()]
            outputs[name][0].uri = str(scratch / name)
        check_content([one for listed in inputs.values() for one in listed])
        executor = self._nodes[node].executor_spec.executor_class()
        executor.Do(inputs, outputs, dict(self._nodes[node].exec_properties))


def test_changed_file_reaches_no_node_that_reads_it(
    finished: tuple[SmallPipeline, Ran], artifacts: Path, tmp_path: Path
) -> None:
    """Every file of every artifact, alone and with a manifest that was made to fit, before every node that reads it."""
    nodes = Nodes(*finished)
    decided = (only(artifacts, "gate__phone_cpu", "blessing") / "decision.json").read_bytes()
    seen, read, float32 = set(), set(), node_of("convert", "float32", finished[0].file)
    for artifact in nodes.store.get_artifacts():
        folder = Path(artifact.uri)
        ours = (folder / MANIFEST_NAME).exists()
        assert breaks(nodes.store, artifact) is None
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            seen.add(path)
            for fitting in (False, True) if ours and path.name != MANIFEST_NAME else (False,):
                with changed(path, fitting=fitting) as named:
                    where = str(named if ours else folder)
                    assert where in str(breaks(nodes.store, artifact))
                    for node in nodes.readers(artifact):
                        read.add((node, artifact.id))
                        if node == "gate__phone_cpu" and float32 in artifact.uri:
                            # The gate reads the file that it chooses, and no other.
                            nodes.execute(node, tmp_path)
                            assert (tmp_path / "blessing" / "decision.json").read_bytes() == decided
                            continue
                        with pytest.raises(TamperedError) as refused:
                            nodes.execute(node, tmp_path)
                        assert where in str(refused.value)
    assert seen == {path for path in artifacts.rglob("*") if path.is_file() and ".system" not in path.parts}
    assert len(read) == 45


def test_verify_names_the_artifact_of_every_file_that_changed(
    finished: tuple[SmallPipeline, Ran], artifacts: Path
) -> None:
    """Every file of every artifact, also those that no later node reads, such as the Keras model of the baseline."""
    _, ran = finished
    assert ran.folder is not None
    verify = ("verify", ran.folder.name, "--root", str(ran.root))
    files = sorted(one for one in artifacts.rglob("*") if one.is_file() and ".system" not in one.parts)
    assert only(artifacts, "baseline", "model") / "Format-Keras" / "model.keras" in files
    for path in files:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else b"x")
        code, said = invoke(*verify)
        path.write_bytes(content)
        node, output, number = path.relative_to(artifacts).parts[:3]
        assert (code, said.count(": CHANGED")) == (ExitCode.NODE_FAILED, 1), (path, said)
        assert f"{node}/{output}/{number}" in said.partition(": CHANGED")[0].rpartition(": verified")[2], said
    assert invoke(*verify)[0] == ExitCode.OK


def test_verify_lineage_and_report_say_what_was_changed(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    _, ran = finished
    assert ran.folder is not None and ran.summary is not None
    run, release, root = ran.folder.name, str(ran.summary.releases[0].path), ("--root", str(ran.root))
    code, said = invoke("verify", run, *root)
    assert (code, "CHANGED" in said) == (0, False), said
    releases = len(ran.summary.releases)
    assert said.count("release ") == said.count("channel ") == releases > 0
    count = len(list(artifacts.glob("*/[!.]*/*"))) + 2 * releases
    assert said.count(": verified") == count
    assert said.endswith(f" {count} artifacts compared: all unchanged")
    code, said = invoke("lineage", release, "--short", *root)
    assert (code, said.count("verified"), "uri: " in said) == (0, 14, False), said
    examples = next(path for path in only(artifacts, "examples", "examples").rglob("*") if path.is_file())
    for path, labels in (
        (only(artifacts, "evaluate", "evaluation") / "report.json", ("evaluate/evaluation/", "ModelEvaluation")),
        (examples, ("examples/examples/", "Examples")),
    ):
        with changed(path):
            for target in (run, release):
                code, said = invoke("verify", target, *root)
                assert (code, said.count("CHANGED")) == (ExitCode.NODE_FAILED, 1), said
                assert " artifacts compared: 1 has changed since it was written" in said
                assert labels[target == release] in said.partition(": CHANGED")[0].rpartition(": verified")[2]
            code, said = invoke("lineage", release, *root)
            assert (code, f"the lineage breaks at {labels[1]}" in said) == (ExitCode.NODE_FAILED, True), said
    with changed(only(artifacts, "evaluate", "evaluation") / "report.json") as path:
        code, said = invoke("report", run, *root)
        assert (code, str(path) in said.replace(" ", "")) == (ExitCode.NODE_FAILED, True), said


def test_verify_compares_the_releases_of_a_run(finished: tuple[SmallPipeline, Ran], tmp_path: Path) -> None:
    _, ran = finished
    assert ran.folder is not None and ran.summary is not None
    folder, verify = Path(str(ran.summary.releases[0].path)), ("verify", ran.folder.name, "--root", str(ran.root))
    manifest = (folder / "manifest.json").read_bytes()
    for name, content, reason in (
        ("model.tflite", b"another", "the release is corrupt: its model is not the one that was pushed"),
        ("manifest.json", manifest + b" ", "the manifest of this release is not the one that was written"),
    ):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        try:
            code, said = invoke(*verify)
        finally:
            (folder / name).write_bytes(before)
        assert (code, reason in said) == (ExitCode.NODE_FAILED, True), said
        assert f"release {folder}: CHANGED" in said and f"channel {folder.parent}/stable.json: CHANGED" in said
        assert "artifacts compared: 2 have changed since they were written" in said
    missing = f"release {folder}: missing, not compared"
    for gone, code_then, message in (
        (folder.parent, ExitCode.OK, "all unchanged"),
        (folder, ExitCode.NODE_FAILED, f"channel {folder.parent}/stable.json: CHANGED"),
    ):
        moved = gone.rename(tmp_path / "moved")
        try:
            code, said = invoke(*verify)
        finally:
            moved.rename(gone)
        assert (code, missing in said, message in said) == (code_then, True, True), said


def test_manifest_of_a_release_is_the_one_that_was_written(finished: tuple[SmallPipeline, Ran], tmp_path: Path) -> None:
    _, ran = finished
    assert ran.summary is not None
    path = Path(str(ran.summary.releases[0].path)) / "manifest.json"
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"value": 1.0', b'"value": 0.5'))
    assert path.read_bytes() != before
    try:
        for command in ("verify", "lineage"):
            code, said = invoke(command, str(path.parent), "--root", str(ran.root))
            assert (code, "the manifest of this release is not" in said) == (ExitCode.NODE_FAILED, True), said
            assert str(path) in said.replace(" ", "")
        Nodes(*finished).execute("push__phone_cpu", tmp_path)
        assert path.read_bytes() == before
        code, said = invoke("verify", str(path.parent), "--root", str(ran.root))
        assert (code, "artifacts compared: all unchanged" in said) == (ExitCode.OK, True), said
    finally:
        path.write_bytes(before)


def test_artifact_that_was_made_from_another_than_its_node_was_given_breaks_the_chain(
    finished: tuple[SmallPipeline, Ran], artifacts: Path
) -> None:
    store = Nodes(*finished).store
    (evaluation,) = (one for one in store.get_artifacts_by_type("ModelEvaluation") if "/evaluate/" in one.uri)
    (candidate,) = (one for one in store.get_artifacts() if node_of("convert", "int8", finished[0].file) in one.uri)
    path = Path(evaluation.uri, MANIFEST_NAME)
    manifest = Manifest.model_validate_json(path.read_bytes())
    path.write_bytes(serialized(manifest.model_copy(update={"parents": {**manifest.parents, "int8": "0" * 64}})))
    evaluation.custom_properties["manifest_sha256"].string_value = sha256_of(path)
    expected = candidate.custom_properties["sha256"].string_value
    said = str(breaks(store, evaluation))
    assert (
        f"this artifact (evaluation) was not made from the int8 that its node was given (expected: sha256 {expected}"
        in said
    )


def run_again(finished: tuple[SmallPipeline, Ran]) -> Ran:
    """A second run; the registry is empty before, and as the first left it afterward."""
    small, _ = finished
    registry, kept = small.folder / "registry", small.folder / "kept-registry"
    registry.rename(kept)
    try:
        ran = Ran(small.write(), "small")
        assert registry.exists() == (ran.code == ExitCode.OK), ran.output
        return ran
    finally:
        shutil.rmtree(registry, ignore_errors=True)
        kept.rename(registry)


def assert_names(ran: Ran, role: str, path: Path) -> None:
    assert ran.code == ExitCode.NODE_FAILED, ran.output
    said = "".join(ran.output.split())
    assert f"thisartifact({role}" in said, ran.output
    assert "".join(str(path).split()) in said


def test_baseline_of_other_weights_is_not_converted(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    small, _ = finished
    path = next(only(artifacts, "baseline", "model").rglob("variables.data*"))
    path.write_bytes(bytes(path.stat().st_size))
    small.spec["recipes"].append({"name": "int16", "scheme": "static_wi8_ai16"})
    assert_names(run_again(finished), "baseline", path)


def test_report_of_better_figures_passes_no_gate(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    small, _ = finished
    path = only(artifacts, "evaluate", "evaluation") / "report.json"
    path.write_text(path.read_text().replace('"value": 1.0', '"value": 0.99'))
    small.spec["gate"]["metrics"][0]["at_least"] = 0.81
    assert_names(run_again(finished), "evaluation", path)


def test_decision_facts_and_model_changed_together_do_not_ship(
    finished: tuple[SmallPipeline, Ran], artifacts: Path
) -> None:
    _, first = finished
    assert first.summary is not None
    chosen, blessing = (only(artifacts, "gate__phone_cpu", name) for name in ("chosen", "blessing"))
    (chosen / "Format-Serving" / "tflite").write_bytes(b"another model")
    old, new = str(first.summary.decisions[0].chosen_sha256), sha256_of(chosen / "Format-Serving" / "tflite")
    for folder in (chosen, blessing):
        for path in folder.glob("*.json"):
            path.write_text(path.read_text().replace(old, new))
        make_fit(folder)
    # The push refuses the one, the report the other.
    assert_names(run_again(finished), "decision", blessing / "manifest.json")


def test_what_is_missing_is_produced_again(finished: tuple[SmallPipeline, Ran], artifacts: Path) -> None:
    _, first = finished
    assert first.summary is not None
    for node, output in (("evaluate", "evaluation"), ("gate__phone_cpu", "chosen")):
        shutil.rmtree(only(artifacts, node, output))
    ran = run_again(finished)
    assert ran.code == ExitCode.OK, ran.output
    assert ran.summary is not None
    assert ran.summary.releases[0].sha256 == first.summary.releases[0].sha256
