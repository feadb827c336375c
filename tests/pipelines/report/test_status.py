from datetime import datetime, timezone
from pathlib import Path

import pytest

from components.facts.evaluation import Latency
from components.facts.left_out import LeftOut
from pipelines.file.load import SkippedRecipe
from pipelines.report.render import render_report
from pipelines.report.status import RunStatus, with_summary
from pipelines.report.summary import NodeFact, RunSummary


@pytest.fixture
def begun() -> RunStatus:
    now = datetime(2026, 1, 2, tzinfo=timezone.utc)
    return RunStatus(state="running", pipeline_file="p.yaml", pid=1, host="h", started=now, versions={"tfx": "1"})


def test_devices_and_candidates_are_reported_with_their_figures(begun: RunStatus, run_summary: RunSummary) -> None:
    status = with_summary(begun, run_summary)
    assert (status.pipeline, status.verdict, status.run_id) == ("fashion-mnist", "pushed", run_summary.run_id)
    phone, micro = status.devices
    assert (phone.device, phone.verdict, phone.chosen) == ("phone_cpu", "pass", run_summary.decisions[0].chosen)
    assert phone.release is not None
    assert phone.release.bytes == run_summary.releases[0].bytes
    assert (micro.chosen, micro.release) == (None, None)
    assert micro.why == run_summary.decisions[1].why
    by_name = {one.name: one for one in status.candidates}
    assert by_name["float32"].times_smaller == 1.0
    assert by_name["int8"].bytes == 23_104
    assert by_name["int8"].times_smaller == pytest.approx(83_716 / 23_104)
    assert by_name["int8"].metrics["accuracy"].value == pytest.approx(0.891 - 0.002)
    assert by_name["int8"].change["accuracy"].value == pytest.approx(-0.002)
    assert by_name[phone.chosen].verdicts["phone_cpu"] == "blessed"
    failed = [one for one in status.candidates if one.status == "failed"]
    assert len(failed) == 1
    assert failed[0].bytes is None
    assert "Remedy: " in failed[0].error
    refused = next(
        one for one in status.candidates if one.verdicts["phone_cpu"] == "fail" and one.status == "converted"
    )
    assert refused.reasons["phone_cpu"][0].verdict == "fail"


def test_advice_on_a_failed_conversion_fits_the_devices(begun: RunStatus, run_summary: RunSummary) -> None:
    assert "(the devices" not in with_summary(begun, run_summary).model_dump_json()
    floats = tuple(one.model_copy(update={"schemes": ("float32", "float16")}) for one in run_summary.devices[:1])
    summary = run_summary.model_copy(update={"devices": floats})
    said = "use static_wi8_ai8, or allow float_fallback (the devices of this file do not accept static_wi8_ai8; they"
    (failed,) = (one for one in with_summary(begun, summary).candidates if one.status == "failed")
    assert said in failed.error
    assert said in render_report(summary)


def test_failed_nodes_are_reported_with_their_errors(begun: RunStatus, run_summary: RunSummary) -> None:
    nodes = (NodeFact(id="a", state="complete"), NodeFact(id="b", state="failed", message="no room"))
    status = with_summary(
        begun, run_summary.model_copy(update={"nodes": nodes, "verdict": "failed", "errors": ("b: no",)})
    )
    assert (status.failed, status.verdict, status.errors) == ({"b": "no room"}, "failed", ("b: no",))


def test_what_is_written_can_be_read_again(begun: RunStatus, run_summary: RunSummary, tmp_path: Path) -> None:
    status = with_summary(begun, run_summary)
    (tmp_path / "s.json").write_text(status.model_dump_json())
    assert (
        RunStatus.model_validate_json((tmp_path / "s.json").read_bytes()).model_dump_json() == status.model_dump_json()
    )


def test_latency_has_its_interval_or_the_reason_why_there_is_none(begun: RunStatus, run_summary: RunSummary) -> None:
    assert run_summary.evaluation is not None
    first, second, *_ = run_summary.evaluation.candidates
    timed = Latency(microseconds=9.0, ratio=0.5, lower=0.4, upper=0.7, note="reference kernels only")
    untimed = Latency(microseconds=9.0, ratio=None, note="the twins did not agree", transient=True)
    candidates = tuple(one.model_copy(update={"latency": each}) for one, each in ((first, timed), (second, untimed)))
    evaluation = run_summary.evaluation.model_copy(update={"candidates": candidates})
    found, missing = with_summary(begun, run_summary.model_copy(update={"evaluation": evaluation})).candidates
    assert (found.latency_ratio, found.latency_lower, found.latency_upper) == (0.5, 0.4, 0.7)
    assert found.latency_note == "reference kernels only"
    assert (missing.latency_ratio, missing.latency_lower, missing.latency_upper) == (None, None, None)
    assert missing.latency_note == "the twins did not agree"


def test_files_left_out_are_in_the_status(begun: RunStatus, run_summary: RunSummary) -> None:
    left_out = LeftOut(split="", files=200, damaged=3, bound=0.02, first=("a.png (no image)",))
    assert with_summary(begun, run_summary.model_copy(update={"left_out": (left_out,)})).left_out == (left_out,)


def test_skipped_recipes_are_in_the_status(begun: RunStatus, run_summary: RunSummary) -> None:
    skipped = SkippedRecipe(name="masked", scheme="static_wi8_ai8", place=6, reasons=("a mask",))
    assert with_summary(begun, run_summary.model_copy(update={"skipped": (skipped,)})).skipped == (skipped,)
