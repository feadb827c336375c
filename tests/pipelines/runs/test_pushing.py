"""A registry that is unreachable when a run pushes: the release is staged, and `edgemill push` finishes it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from typer.testing import CliRunner

from components.core.files import sha256_of_bytes
from components.facts.decision import Decision
from components.facts.evaluation import CandidateReport
from components.facts.manifest import describe, write_manifest
from components.facts.verified import verified
from components.object_store.clients import bucket_of
from components.object_store.oci import transport
from components.push import signed
from components.push.delivery import PushOutcome, PushRequest, deliver, read_blessing
from components.push.outcome import record
from components.spec.devices.device import DeviceProfile
from components.trust import oci_store
from components.trust.keys import VARIABLE
from edgemill.commands.run import exit_code
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.report.status import device_status
from pipelines.runs.metadata import register_run
from pipelines.runs.pushing import _Described
from pipelines.runs.retention import Rules, plan_removal
from pipelines.runs.run import RunPlan
from pipelines.runs.summary import summarize
from pipelines.storage.metadata_connection import open_store
from tests.components.push.places import KINDS, MODEL, Place, Store, store_of
from tests.object_store import BUCKET

DEVICE = DeviceProfile.model_validate(
    {"name": "phone_cpu", "device_class": "phone", "description": "any", "schemes": ["static_wi8_ai8"]}
)
RUN, PIPELINE = "20260101-000000-aaaaaa", "shoes"
DENIED = (403, "<Error><Code>AccessDenied</Code></Error>")


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Store]]:
    from contextlib import ExitStack

    quick = {"WRITE_SECONDS": 0.2, "WAIT_SECONDS": 0.3, "_PAUSE_SECONDS": 0.05}
    with (
        ExitStack() as stack,
        mock.patch.multiple(oci_store, **quick),
        mock.patch.object(transport, "_FIRST_PAUSE_SECONDS", 0.01),
    ):
        yield {kind: stack.enter_context(store_of(kind)) for kind in KINDS}


@contextmanager
def unreachable(place: Place, store: Store) -> Iterator[None]:
    """A registry that refuses every request, or a folder that isn't there any more."""
    if store.gateway is not None:
        store.gateway.fault = lambda number, line: DENIED
        yield
        store.gateway.reset()
        return
    root = Path(place.root)
    root.mkdir(parents=True, exist_ok=True)
    root.rename(root.with_name("unmounted"))
    root.write_text("the mount point")
    yield
    root.unlink()
    root.with_name("unmounted").rename(root)


class Recorded:
    """A run whose gate blessed a model, as ML Metadata holds it."""

    def __init__(self, folder: Path, *places: Place) -> None:
        self.place, self.folder = environment(folder / "root", None), folder
        self.place.root.mkdir()
        self.store: Any = open_store(self.place.metadata_url)
        self.run_id = RUN
        register_run(self.store, PIPELINE, RUN)
        self.request = PushRequest(registries=tuple(one.spec for one in places), device=DEVICE, name=PIPELINE)
        self.chosen = self._artifact("Model", "chosen")
        self.blessing = self._artifact("ModelBlessing", "blessing")
        self.plan = RunPlan(
            pipeline=PIPELINE, run_id=RUN, started=datetime(2026, 1, 1, tzinfo=timezone.utc),
            nodes=("gate__phone_cpu", "push__phone_cpu"), devices=(DEVICE,), errors={},
            artifacts=self.place.artifact_root(PIPELINE),
        )  # fmt: skip
        (self.place.runs(PIPELINE) / RUN).mkdir(parents=True)
        (self.place.runs(PIPELINE) / RUN / "run.json").write_text(self.plan.model_dump_json())

    def push(self, number: int = 7) -> PushOutcome:
        """What the push node does."""
        blessing = verified(Path(self.blessing.uri))
        outcome = deliver(
            self.request,
            verified(Path(self.chosen.uri)),
            read_blessing(blessing, blessed=1),
            blessing.manifest.sha256,
        )
        self._executed("gate__phone_cpu", [(self.blessing, "blessing", mlmd.Event.OUTPUT)])
        kind = self.store.put_artifact_type(mlmd.ArtifactType(name="PushedModel"))
        uri = Path(self.place.artifact_root(PIPELINE), "push__phone_cpu", "pushed", str(number))
        uri.mkdir(parents=True)
        pushed = mlmd.Artifact(type_id=kind, uri=str(uri), state=mlmd.Artifact.LIVE)
        record(_Described(str(uri), pushed), outcome, {}, "1")
        roles = [(self.chosen, "chosen", mlmd.Event.INPUT), (self.blessing, "blessing", mlmd.Event.INPUT)]
        self._executed("push__phone_cpu", [*roles, (pushed, "pushed", mlmd.Event.OUTPUT)])
        return outcome

    def _executed(self, node: str, roles: list[tuple[Any, str, Any]]) -> None:
        execution = mlmd.Execution(
            type_id=self.store.put_execution_type(mlmd.ExecutionType(name=node)),
            last_known_state=mlmd.Execution.COMPLETE,
        )
        execution.custom_properties["spec"].string_value = self.request.model_dump_json()
        execution.custom_properties["code_version"].string_value = "1"
        contexts = [self.store.get_context_by_type_and_name("pipeline_run", self.run_id)]
        for kind, name in (("node", f"{PIPELINE}.{node}"), ("pipeline", PIPELINE)):
            found = self.store.get_context_by_type_and_name(kind, name)
            number = self.store.put_context_type(mlmd.ContextType(name=kind))
            contexts.append(found or mlmd.Context(type_id=number, name=name))
        events = []
        for artifact, role, event_type in roles:
            event = mlmd.Event(type=event_type)
            event.path.steps.add().key = role
            events.append((artifact, event))
        self.store.put_execution(execution, events, contexts)

    def command(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*arguments, "--root", str(self.place.root)])
        return result.exit_code, " ".join(result.output.split())

    @property
    def summary(self) -> Any:
        return summarize(self.store, self.plan)

    def _artifact(self, kind: str, role: str) -> Any:
        uri = self.folder / role
        uri.mkdir()
        digest = sha256_of_bytes(MODEL)
        decision = {
            "device": "phone_cpu", "verdict": "pass", "chosen": "int8", "chosen_sha256": digest, "why": "the smallest",
            "candidates": [{"candidate": "int8", "verdict": "pass", "checks": []}],
        }  # fmt: skip
        if role == "blessing":
            (uri / "decision.json").write_text(Decision.model_validate(decision).model_dump_json())
            (uri / "BLESSED").write_text("")
            content = "decision.json"
        else:
            (uri / "Format-Serving").mkdir()
            (uri / "Format-Serving/tflite").write_bytes(MODEL)
            outcome = {"status": "failed", "scheme": "x", "cause": "refused", "message": "unused", "remedy": ""}
            facts = {"recipe": {"name": "int8", "scheme": "static_wi8_ai8"}, "outcome": outcome, "sha256": digest}
            (uri / "facts.json").write_text(CandidateReport.model_validate(facts).model_dump_json())
            content = "Format-Serving/tflite"
        artifact = mlmd.Artifact(
            type_id=self.store.put_artifact_type(mlmd.ArtifactType(name=kind)), uri=str(uri), state=mlmd.Artifact.LIVE
        )
        written = write_manifest(
            uri, content, role="chosen" if role == "chosen" else "decision", parents={}, code_version="1"
        )
        describe(_Described(str(uri), artifact), written, blessed=1)
        (artifact.id,) = self.store.put_artifacts([artifact])
        return artifact


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
def test_release_is_staged_and_pushed_later(
    stores: dict[str, Store], tmp_path: Path, kind: str, is_signed: bool
) -> None:
    place = stores[kind].place(tmp_path / "registry")
    with mock.patch.dict(os.environ, {VARIABLE: str(tmp_path / "keys") if is_signed else ""}):
        if is_signed:
            place.sign(tmp_path / "keys")
        run = Recorded(tmp_path, place)
        with unreachable(place, stores[kind]):
            outcome = run.push()
            assert (outcome.pushed, outcome.staged, outcome.version) == (False, True, sha256_of_bytes(MODEL)[:16])
            code, said = run.command("push", RUN)
            assert (code, f"phone_cpu: {outcome.version} is still staged: " in said) == (ExitCode.PUSH_STAGED, True), (
                said
            )
        assert run.summary.verdict == "staged"
        assert exit_code(run.summary) == ExitCode.PUSH_STAGED
        assert f"run: edgemill push {RUN}" in run.summary.why_nothing("phone_cpu")
        assert device_status("phone_cpu", run.summary).staged == outcome.error
        assert not run.store.get_artifacts_by_type("PushedModel")[0].custom_properties["model_sha256"].string_value
        code, said = run.command("push", RUN)
        where = f"{signed.normal(place.root)}/phone/shoes/{outcome.version}{' (signed)' if is_signed else ''}"
        assert (code, said) == (ExitCode.OK, f"phone_cpu: pushed {outcome.version} to {where}")
        assert run.command("push", RUN) == (ExitCode.OK, f"{RUN}: no release is staged")
        release = place.current()
        assert release is not None and release.version == outcome.version
        if is_signed:
            registry = signed.open_signed(place.root)
            assert registry is not None
            assert registry.channel("phone", "shoes", "stable").stages[0].release.version == outcome.version
    summary = run.summary
    assert (summary.verdict, summary.releases[0].signed, exit_code(summary)) == ("pushed", is_signed, ExitCode.OK)
    assert (run.place.runs(PIPELINE) / RUN / "report.html").exists()
    for command in (("lineage", release.path), ("verify", release.path)):
        code, said = run.command(*command)
        assert code == ExitCode.OK, said


@pytest.mark.parametrize("absent", KINDS)
def test_push_to_several_says_which_hold_it_and_changes_no_channel(
    stores: dict[str, Store], tmp_path: Path, absent: str
) -> None:
    places = {kind: stores[kind].place(tmp_path / "registry") for kind in KINDS}
    run = Recorded(tmp_path, *places.values())
    with unreachable(places[absent], stores[absent]):
        outcome = run.push()
    assert outcome.staged
    for kind, place in places.items():
        assert f"{place.root} (stable) {'failed' if kind == absent else 'has the release'}" in outcome.error
        assert place.current() is None
    code, said = run.command("push", "--json", RUN)
    assert code == ExitCode.OK
    assert len(json.loads(said)["pushes"][0]["others"]) == len(KINDS) - 1
    assert all(place.current() is not None for place in places.values())


@pytest.mark.parametrize("is_signed", [False, True], ids=["unsigned", "signed"])
def test_push_that_a_registry_breaks_off_says_whose_channel_changed_and_is_finished(
    stores: dict[str, Store], tmp_path: Path, is_signed: bool
) -> None:
    places = [stores[kind].place(tmp_path / "registry") for kind in ("local", "s3", "gcs")]
    keys = [tmp_path / f"keys-{number}" for number in range(len(places))] if is_signed else []
    with mock.patch.dict(os.environ, {VARIABLE: os.pathsep.join(map(str, keys))}):
        for place, folder in zip(places, keys, strict=False):
            place.sign(folder)
        run = Recorded(tmp_path, *places)
        gateway = stores["s3"].gateway
        assert gateway is not None
        file = "timestamp.json" if is_signed else "stable.json"
        gateway.fault = lambda number, line: DENIED if line.startswith("PUT") and file in line else None
        outcome = run.push()
        gateway.reset()
        assert outcome.staged
        for place, what in zip(places, ("changed", "failed", "changed"), strict=True):
            assert f"{place.root} (stable) {what}" in outcome.error
        assert [place.current() is not None for place in places] == [True, False, True]
        code, said = run.command("push", RUN)
        assert code == ExitCode.OK, said
        assert [one.version for place in places if (one := place.current())] == [outcome.version] * 3


def test_staged_model_that_was_changed_is_not_pushed(stores: dict[str, Store], tmp_path: Path) -> None:
    place = stores["local"].place(tmp_path / "registry")
    run = Recorded(tmp_path, place)
    with unreachable(place, stores["local"]):
        run.push()
    for file in ("chosen/Format-Serving/tflite", "blessing/decision.json"):
        path = tmp_path / file
        content = path.read_bytes()
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        code, said = run.command("push", RUN)
        assert (code, "is not the one that was written" in said) == (ExitCode.NODE_FAILED, True), said
        path.write_bytes(content)
    assert place.current() is None
    assert run.command("push", RUN)[0] == ExitCode.OK


def test_artifacts_in_an_object_store_are_pushed_too(stores: dict[str, Store], tmp_path: Path) -> None:
    place = stores["s3"].place(tmp_path / "registry")
    run = Recorded(tmp_path, place)
    with unreachable(place, stores["s3"]):
        outcome = run.push()
    for artifact in run.store.get_artifacts():
        folder, address = Path(artifact.uri), f"s3://{BUCKET}/root/{artifact.id}"
        for path in folder.rglob("*"):
            if path.is_file():
                bucket_of(address).upload(path, f"root/{artifact.id}/{path.relative_to(folder)}")
        shutil.rmtree(folder)
        artifact.uri = address
        run.store.put_artifacts([artifact])
    assert run.summary.verdict == "staged"
    code, said = run.command("push", RUN)
    assert (code, f"pushed {outcome.version}" in said) == (ExitCode.OK, True), said
    assert (run.summary.verdict, run.summary.releases[0].pushed) == ("pushed", True)
    assert run.command("verify", RUN)[0] == ExitCode.OK


def test_newer_release_is_replaced_only_by_force(stores: dict[str, Store], tmp_path: Path) -> None:
    place = stores["local"].place(tmp_path / "registry")
    run = Recorded(tmp_path, place)
    with unreachable(place, stores["local"]):
        run.push()
    # A later push of the same node, in another run.
    register_run(run.store, PIPELINE, "20260102-000000-bbbbbb")
    run.run_id = "20260102-000000-bbbbbb"
    assert run.push(8).pushed
    code, said = run.command("push", RUN)
    assert (code, "a later run has pushed another release" in said) == (ExitCode.NODE_FAILED, True), said
    assert run.command("push", RUN, "--force")[0] == ExitCode.OK


def test_run_with_a_staged_release_is_kept(stores: dict[str, Store], tmp_path: Path) -> None:
    place = stores["local"].place(tmp_path / "registry")
    run = Recorded(tmp_path, place)
    newer = run.plan.model_copy(update={"run_id": "20260301-000000-bbbbbb", "started": run.plan.started + timedelta(9)})
    folder = run.place.runs(PIPELINE) / newer.run_id
    folder.mkdir()
    (folder / "run.json").write_text(newer.model_dump_json())
    register_run(run.store, PIPELINE, newer.run_id)

    def why() -> str:
        plan = plan_removal(run.store, run.place, PIPELINE, Rules(keep_runs=1), run.plan.started + timedelta(days=99))
        return next(one.why for one in plan.runs if one.run_id == RUN)

    with unreachable(place, stores["local"]):
        run.push()
    assert why() == "has a release that is not pushed yet: edgemill push"
    assert run.command("push", RUN)[0] == ExitCode.OK
    assert why().startswith("made the release ")
