from datetime import datetime, timezone
from pathlib import Path

from components.facts.conversion import ConversionFailure
from components.facts.decision import CandidateDecision, Decision, Requirement
from components.facts.device import DeviceReport
from components.facts.evaluation import CandidateReport, EvaluationReport, Latency, MetricValue, SliceResult
from components.facts.manifest import write_manifest
from components.model.keras3.facts import RebuiltFacts
from components.push.delivery import PushOutcome
from kubeflow.pages.ui import candidate_metrics, verdict_markdown
from kubeflow.pages.ui_component import ReportRequest, summarize_artifacts
from pipelines.file.load import SkippedRecipe
from pipelines.report.summary import RunSummary

FAILED = ConversionFailure(scheme="static_wi8_ai8", cause="refused", message="no", remedy="other", transient=False)

REBUILT = RebuiltFacts(
    keras_version="3.15.0",
    variables=4,
    examples={"random": 8, "real": 16},
    largest_difference=2e-7,
    output_scale=1.0,
    tolerance=1e-5,
)


def candidate(accuracy: float, ratio: float | None) -> CandidateReport:
    return CandidateReport.model_validate(
        {
            "recipe": {"name": "int8", "scheme": "static_wi8_ai8"},
            "outcome": FAILED.model_dump(),
            "slices": [
                SliceResult(
                    slice="overall",
                    examples=10,
                    metrics={"accuracy": MetricValue(value=accuracy)},
                    change={"accuracy": MetricValue(value=accuracy - 1)},
                ).model_dump(),
                SliceResult(slice="label=1", examples=2, metrics={"accuracy": MetricValue(value=0.1)}).model_dump(),
            ],
            "latency": Latency(microseconds=30.0, ratio=ratio).model_dump(),
        }
    )


def evaluation(one: CandidateReport) -> EvaluationReport:
    return EvaluationReport(baseline_slices=(), baseline_bytes=4000, candidates=(one,))


def test_metrics_are_those_of_the_whole_split() -> None:
    one = candidate(0.75, 0.5)
    assert candidate_metrics(one, evaluation(one)) == {
        "converted": 0.0,
        "accuracy": 0.75,
        "accuracy_change": -0.25,
        "latency_ratio": 0.5,
    }


def test_what_is_no_number_is_left_out() -> None:
    one = candidate(float("nan"), None)
    assert candidate_metrics(one, evaluation(one)) == {"converted": 0.0}


def test_verdict_gives_reasons_and_what_was_delivered() -> None:
    check = Requirement(quantity="conversion", scope="int4", bound="a | file", measured="<stack>\nline", verdict="fail")
    decisions = (
        Decision(
            device="phone",
            verdict="pass",
            chosen="int8",
            chosen_sha256="ab",
            why="int8 is the only candidate that passes",
            candidates=(CandidateDecision(candidate="int4", verdict="fail", checks=(check,)),),
        ),
        Decision(device="tiny", verdict="fail", chosen=None, chosen_sha256=None, why="none passes", candidates=()),
    )
    pushed = PushOutcome(device="phone", pushed=True, reason="", version="v1", path="/registry/v1", bytes=12345)
    summary = RunSummary(
        pipeline="small",
        run_id="r",
        started=datetime(2026, 1, 1, tzinfo=timezone.utc),
        verdict="pushed",
        decisions=decisions,
        releases=(pushed,),
        rebuilt=REBUILT,
        skipped=(SkippedRecipe(name="lstm", scheme="static_wi8_ai16", place=3, reasons=("a | mask", "<no>")),),
    )
    assert verdict_markdown(summary).splitlines() == [
        "# small: pushed",
        "",
        "The baseline was rebuilt from a model of Keras 3.15.0: outputs differ by at most 2.0e-07 of their scale on "
        "8 random and 16 real examples (1e-05 is allowed).",
        "",
        "## phone: pass",
        "",
        "int8 is the only candidate that passes",
        "",
        "Delivered: version `v1`, 12,345 bytes, `/registry/v1`",
        "",
        "| candidate | check | where | bound | measured | verdict |",
        "|---|---|---|---|---|---|",
        r"| int4 | conversion | int4 | a \| file | &lt;stack> line | fail |",
        "",
        "## tiny: fail",
        "",
        "none passes",
        "",
        "## Skipped recipes",
        "",
        "| recipe | scheme | why it cannot work on this model |",
        "|---|---|---|",
        r"| lstm | static_wi8_ai16 | a \| mask |",
        "| lstm | static_wi8_ai16 | &lt;no> |",
    ]


def test_folders_of_artifacts_are_enough_to_tell_of_a_run(tmp_path: Path) -> None:
    one = candidate(0.75, 0.5)
    written = {
        "evaluation/report.json": evaluation(one),
        "blessing_tiny/decision.json": Decision(
            device="tiny", verdict="fail", chosen=None, chosen_sha256=None, why="none passes", candidates=()
        ),
        "model/Format-Keras/rebuilt.json": REBUILT,
        "pushed_tiny/push.json": PushOutcome(device="tiny", pushed=False, reason="none passes"),
        "on_device_tiny/device_report.json": DeviceReport(device="tiny", candidates=()),
    }
    for name, value in written.items():
        path, folder = tmp_path / name, tmp_path / name.partition("/")[0]
        path.parent.mkdir(parents=True)
        path.write_text(value.model_dump_json())
        write_manifest(folder, path.relative_to(folder).as_posix(), role="evaluation", parents={}, code_version="1")
    folders = {path.name: path for path in tmp_path.iterdir()}
    skipped = (SkippedRecipe(name="lstm", scheme="static_wi8_ai16", place=3, reasons=("a mask",)),)
    summary = summarize_artifacts(ReportRequest(pipeline="small", devices=(), skipped=skipped), folders, "run-7")
    assert summary.skipped == skipped
    assert summary.rebuilt == REBUILT
    assert (summary.verdict, summary.run_id) == ("refused", "run-7")
    assert summary.evaluation == evaluation(one)
    assert [decision.device for decision in summary.decisions] == ["tiny"]
    assert [report.device for report in summary.on_devices] == ["tiny"]
    assert summary.seconds is None
