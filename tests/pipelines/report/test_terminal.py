import io
import math

from rich.console import Console

from components.facts.evaluation import EvaluationReport, Latency, MetricValue, SliceResult
from edgemill.commands.run import exit_code
from edgemill.exit_codes import ExitCode
from pipelines.file.load import SkippedRecipe
from pipelines.report.terminal import render_table


def printed(summary, width=130):
    console = Console(width=width, no_color=True, force_terminal=False, record=True, file=io.StringIO())
    console.print(render_table(summary))
    return console.export_text().splitlines()


def cells(lines, name):
    (line,) = [line for line in lines if line.startswith("│") and line.split("│")[1].strip() == name]
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_row_reports_figures_and_verdicts_when_candidate_was_measured(run_summary):
    lines = printed(run_summary)
    figures = ["23,104", "20,793", "3.62×", "0.78"]  # noqa: RUF001
    assert cells(lines, "int8") == ["int8", "0.8890 [0.8700, 0.9070]", *figures, "blessed", "fail"]
    assert cells(lines, "float32")[6:] == ["pass", "fail"]


def test_row_reports_the_cause_when_conversion_failed(run_summary):
    row = cells(printed(run_summary), "int16")
    assert row[1] == "conversion refused"
    assert row[2:] == ["–", "–", "–", "–", "fail", "fail"]  # noqa: RUF001


def test_lines_tell_what_was_pushed_and_why_not_when_table_ends(run_summary):
    text = "\n".join(printed(run_summary, 400))
    assert "phone_cpu: pushed 696e7438696e7438 (23,104 bytes)" in text
    assert "cortex_m0: nothing pushed: no candidate passes: float32 (scheme)" in text


def test_signed_release_is_named_so(run_summary):
    release = run_summary.releases[0].model_copy(update={"signed": True})
    signed = run_summary.model_copy(update={"releases": (release, *run_summary.releases[1:])})
    assert "phone_cpu: pushed 696e7438696e7438 (23,104 bytes), signed" in "\n".join(printed(signed, 400))
    assert "signed" not in "\n".join(printed(run_summary, 400))


def test_failed_push_is_reported_instead_of_why_its_candidate_was_chosen(run_summary):
    failed = run_summary.model_copy(update={"releases": (), "errors": ("push__phone_cpu: the disk is full",)})
    text = "\n".join(printed(failed, 400))
    assert "phone_cpu: nothing pushed: int8 passed, but the push failed" in text
    assert run_summary.decision_for("phone_cpu").why not in text


def test_exit_status_is_0_only_if_every_device_has_a_release(run_summary):
    assert exit_code(run_summary) == ExitCode.GATE_REFUSED
    phone = next(device for device in run_summary.devices if device.name == "phone_cpu")
    alone = run_summary.model_copy(update={"devices": (phone,)})
    assert exit_code(alone) == ExitCode.OK
    for lost in ({"releases": ()}, {"releases": (), "decisions": ()}):
        assert exit_code(alone.model_copy(update=lost)) == ExitCode.NODE_FAILED
        assert exit_code(run_summary.model_copy(update=lost)) == ExitCode.NODE_FAILED
    assert exit_code(alone.model_copy(update={"verdict": "failed"})) == ExitCode.NODE_FAILED


def test_brackets_are_text_when_an_error_holds_them(run_summary):
    failed = run_summary.model_copy(update={"evaluation": None, "decisions": (), "errors": ("no [bold]file[/bold]",)})
    lines = printed(failed.model_copy(update={"releases": ()}))
    text = "\n".join(lines)
    assert "no [bold]file[/bold]" in text
    assert "phone_cpu: nothing pushed: its gate did not run" in text


def test_no_table_is_printed_of_a_run_without_candidates(run_summary):
    failed = {"evaluation": None, "decisions": (), "releases": (), "verdict": "failed", "errors": ("baseline: no",)}
    title, first, *_ = printed(run_summary.model_copy(update=failed))
    assert title == f"{run_summary.pipeline}: failed"
    assert first.startswith("image: the split reaches")
    assert printed(run_summary)[1].startswith("┏")


def test_brackets_are_text_when_a_metric_or_an_interval_holds_them(run_summary):
    endless = MetricValue(value=1.0, lower=-math.inf, upper=math.inf)
    whole = SliceResult(slice="overall", examples=9, metrics={"error [px]": endless})
    first = run_summary.evaluation.candidates[0].model_copy(update={"slices": (whole,)})
    evaluation = EvaluationReport(baseline_slices=(whole,), baseline_bytes=9, candidates=(first,))
    text = "\n".join(printed(run_summary.model_copy(update={"evaluation": evaluation}), 400))
    assert "error [px] [95 %]" in text
    assert "1.0000 [-inf, inf]" in text


def test_warnings_of_the_audit_are_reported_and_mere_information_is_not(run_summary):
    text = "\n".join(printed(run_summary, 400))
    assert "image: the split reaches 1.04, the sample only 1.0: 0.2 % of the values will be clipped." in text
    assert "500 of 3,000 examples were taken." not in text


def test_headline_counts_devices_when_one_got_nothing(run_summary):
    assert run_summary.headline == "pushed to 1 of 2 devices"
    assert "pushed to 1 of 2 devices" in printed(run_summary)[0]
    only = run_summary.model_copy(update={"devices": run_summary.devices[:1]})
    assert only.headline == "pushed"


def test_notes_on_latency_are_reported_below_the_table(run_summary):
    first, *others = run_summary.evaluation.candidates
    slow = first.model_copy(update={"latency": Latency(microseconds=9.0, ratio=6.5, note="[reference] kernels only")})
    evaluation = run_summary.evaluation.model_copy(update={"candidates": (slow, *others)})
    text = "\n".join(printed(run_summary.model_copy(update={"evaluation": evaluation}), 400))
    assert f"latency of {first.name}: [reference] kernels only" in text


def test_note_that_several_candidates_share_is_printed_once(run_summary):
    first, second, *others = run_summary.evaluation.candidates
    noisy = Latency(microseconds=9.0, ratio=None, note="the machine was too noisy")
    shared = [candidate.model_copy(update={"latency": noisy}) for candidate in (first, second)]
    evaluation = run_summary.evaluation.model_copy(update={"candidates": (*shared, *others)})
    text = "\n".join(printed(run_summary.model_copy(update={"evaluation": evaluation}), 400))
    assert f"latency of {first.name}, {second.name}: the machine was too noisy" in text
    assert text.count("too noisy") == 1


def test_skipped_recipe_has_a_row_and_its_reasons(run_summary):
    reasons = ("layer gate: its inputs are [masked]. Remedy: train on padded sequences", "no. Remedy: other")
    skipped = SkippedRecipe(name="masked", scheme="static_wi8_ai8", place=6, reasons=reasons)
    lines = printed(run_summary.model_copy(update={"skipped": (skipped,)}), 400)
    assert cells(lines, "masked") == ["masked", "skipped", *["–"] * 6]  # noqa: RUF001
    assert f"masked is skipped: {reasons[0]}; {reasons[1]}" in "\n".join(lines)
