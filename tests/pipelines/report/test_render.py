import re
import sys
from html.parser import HTMLParser

import pytest
from rich.console import Console

from components.facts.audit import RangeFact
from components.facts.conversion import PinnedFact
from components.facts.evaluation import Latency, MetricValue, OutputReading
from components.facts.left_out import LeftOut
from components.model.keras3.facts import RebuiltFacts
from pipelines.file.load import SkippedRecipe
from pipelines.report import figures, wording
from pipelines.report.render import render_report, slice_rows, write_report
from pipelines.report.summary import LineageNode, NodeFact, RunSummary
from pipelines.report.terminal import render_table
from pipelines.report.wording import in_words
from tests.processes import finished

VOID = {"meta", "br", "use", "path", "hr", "input", "link", "img"}


class Page(HTMLParser):
    """Start tags in order, text per section, rows of tables; refuses a document whose tags do not nest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.rows, self.ids = [], [], [], []
        self.text = {}
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        section = next((attributes.get("id") for tag, attributes in self.open if tag == "section"), None)
        self.text[section] = self.text.get(section, "") + data
        if any(tag in {"td", "th"} for tag, _ in self.open):
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()

    def position(self, wanted, **attributes):
        return next(
            index
            for index, (tag, found) in enumerate(self.tags)
            if tag == wanted and all(found.get(name) == value for name, value in attributes.items())
        )


@pytest.fixture(scope="module")
def html(request):
    return render_report(request.getfixturevalue("run_summary"))


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def row_of(page, *cells):
    """The cells of the one row that starts with these."""
    (row,) = [row for row in page.rows if row[: len(cells)] == list(cells)]
    return row


def test_verdict_comes_before_every_table_and_figure_when_rendered(page):
    verdict = page.position("section", id="verdict")
    assert verdict < page.position("table") < page.position("figure")
    assert "int8 was pushed: int8 is the smallest of 4 candidates that pass (23,104 bytes)" in page.text["verdict"]
    assert "Nothing was pushed: no candidate passes" in page.text["verdict"]
    assert "696e7438696e7438" in page.text["verdict"]
    assert "no: the registry is not signed, so devices cannot verify it" in page.text["verdict"]


def test_document_needs_nothing_else_when_rendered(html, page):
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|\bsrc=", html)
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {f"#{name}" for name in page.ids}
    assert all(
        found[name].startswith("#") for _, found in page.tags for name in ("href", "xlink:href") if name in found
    )
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_identifiers_are_unique_when_several_pictures_share_the_document(page):
    assert sum(1 for tag, _ in page.tags if tag == "svg") == 3
    assert len(page.ids) == len(set(page.ids))


def test_every_picture_has_a_label_and_a_caption_when_rendered(page):
    labels = [found.get("aria-label") for tag, found in page.tags if tag == "figure"]
    assert len(labels) == 3
    assert all(labels)
    assert sum(1 for tag, _ in page.tags if tag == "figcaption") == 3


def test_every_table_has_its_own_scroller_when_rendered(html):
    assert html.count("<table") == html.count('<div class="scroll"><table')


# Both pictures draw these four numbers of each candidate.
@pytest.mark.parametrize(
    ("name", "accuracy", "size", "ratio"),
    [
        ("float32", "0.8910 [0.8720, 0.9090]", "83,716", "1.00"),
        ("float16", "0.8910 [0.8720, 0.9090]", "43,988", "1.02"),
        ("dynamic", "0.8900 [0.8710, 0.9080]", "25,880", "0.91"),
        ("int8", "0.8890 [0.8700, 0.9070]", "23,104", "0.78"),
        ("int8_per_tensor", "0.8720 [0.8530, 0.8900]", "21,648", "0.77"),
    ],
)
def test_numbers_of_the_pictures_are_in_the_table_of_candidates(page, run_summary, name, accuracy, size, ratio):
    scheme = next(c.recipe.scheme.kind for c in run_summary.evaluation.candidates if c.name == name)
    row = row_of(page, f"{name}{scheme}")
    assert (row[1], row[3], row[6]) == (accuracy, size, ratio)
    verdicts = {"int8": ["blessed", "fail"], "int8_per_tensor": ["fail", "fail"]}
    assert row[7:] == verdicts.get(name, ["pass", "fail"])


def test_long_notes_on_latency_are_footnotes_below_the_table_and_not_in_its_cells(run_summary):
    first, second, third, *others = run_summary.evaluation.candidates
    notes = ("reference kernels only, which are slow on this machine", "timed alone")
    noted = [
        one.model_copy(update={"latency": Latency(microseconds=9.0, ratio=6.5, note=note)})
        for one, note in ((first, notes[0]), (second, notes[1]), (third, notes[0]))
    ]
    evaluation = run_summary.evaluation.model_copy(update={"candidates": (*noted, *others)})
    html = render_report(run_summary.model_copy(update={"evaluation": evaluation}))
    table, below = html[html.index('id="candidates"') : html.index('id="pictures"')].split("</table>")
    assert [table.count(f"6.50<sup>{number}</sup>") for number in (1, 2)] == [2, 1]
    for number, note in enumerate(notes, 1):
        assert note not in table
        assert below.count(f"<sup>{number}</sup> {note}") == 1


READINGS = (
    (
        {"kind": "logits", "applied": "sigmoid", "why": "as it is", "averages": ["auc is a mean"]},
        "returns logits (as it is): all metrics of the baseline and the candidates use their sigmoid. auc is a mean.",
    ),
    (
        {"kind": "probabilities", "why": "by Softmax"},
        "returns probabilities (by Softmax): all metrics of the baseline and the candidates use its outputs unchanged",
    ),
)


@pytest.mark.parametrize(("reading", "said"), READINGS)
def test_what_outputs_were_taken_for_and_the_share_that_saturates_are_in_the_report(plain_summary, reading, said):
    shares = (0.0312, 0.0, None)
    candidates = [
        one.model_copy(update={"saturated": share})
        for one, share in zip(plain_summary.evaluation.candidates[:3], shares, strict=True)
    ]
    update = {"outputs": OutputReading.model_validate(reading), "candidates": tuple(candidates)}
    evaluation = plain_summary.evaluation.model_copy(update=update)
    page = Page(render_report(plain_summary.model_copy(update={"evaluation": evaluation})))
    assert said in page.text["candidates"]
    cells = [row_of(page, f"{one.name}{one.recipe.scheme.kind}")[1] for one in candidates]
    assert [cell.partition("]")[2] for cell in cells] == [
        "3.12% of outputs saturated",
        "0.00% of outputs saturated",
        "",
    ]


def test_numbers_of_the_range_picture_are_in_tables_when_drawn(page, run_summary):
    assert row_of(page, "image") == ["image", "0 to 1", "0 to 1.04", "0 to 1", "0 to 0.98"]
    (fact,) = run_summary.audit.ranges
    for index, (sample, split) in enumerate(zip(fact.histogram, fact.split_histogram, strict=True)):
        row = next(row for row in page.rows if row[0] == str(index + 1) and len(row) == 4)
        assert (row[2], row[3]) == (f"{sample:,}", f"{split:,}")
        assert float(row[1]) == pytest.approx(index / 10)


def test_failed_candidate_is_shown_with_cause_and_fix_when_conversion_failed(page):
    row = row_of(page, "int16static_wi8_ai16")
    assert "conversion refused" in row[1]
    assert "no 16x8 kernel for <CUMSUM> & refused the graph." in row[1]
    assert "Remedy: use static_wi8_ai8, or allow float_fallback" in row[1]


def test_failed_push_is_not_explained_by_why_its_candidate_was_chosen(plain_summary):
    failed = Page(render_report(plain_summary.model_copy(update={"releases": (), "verdict": "failed"})))
    assert "Nothing was pushed: int8 passed, but the push failed." in failed.text["verdict"]
    assert f"Nothing was pushed: {plain_summary.decision_for('phone_cpu').why}" not in failed.text["verdict"]


def test_gate_reports_every_reason_when_candidates_did_not_pass(page, run_summary):
    for decision in run_summary.decisions:
        for one in decision.candidates:
            for check in map(in_words, one.reasons):
                assert [one.candidate, check.what, check.where, check.bound, check.measured] in [
                    row[:5] for row in page.rows
                ]


def test_inspection_nodes_and_lineage_are_reported_when_known(page):
    assert row_of(page, "train") == ["train", "31.4 s", "complete", ""]
    assert row_of(page, "push__cortex_m0")[1:3] == ["–", "not run"]  # noqa: RUF001
    assert "CONV_2D" in page.text["inspection"]
    assert "integers only" in page.text["inspection"]
    assert "float baseline" in page.text["lineage"]
    assert "0.2 % of the values will be clipped" in page.text["calibration"]


def test_lineage_counts_input_files_and_folds_the_first_hundred(run_summary):
    files = {f"file {number:03}": f"sha256 {number}" for number in range(150)}
    node = LineageNode(label="examples", kind="execution", details={"data": "150 files"}, files=files)
    html = render_report(run_summary.model_copy(update={"lineage": node}))
    folded = html.partition("<summary>150 files</summary>")[2].partition("</details>")[0]
    assert ("file 099" in folded, "file 100" in html, "50 more" in folded) == (True, False, True)


def test_text_is_escaped_when_it_holds_markup(run_summary):
    evil = "<script>alert('&')</script>"
    html = render_report(
        run_summary.model_copy(
            update={
                "pipeline": evil,
                "errors": (evil,),
                "nodes": (NodeFact(id=evil, state="failed", message=evil),),
                "lineage": LineageNode(label=evil, kind=evil, details={evil: evil}, files={evil: evil}),
                "audit": run_summary.audit.model_copy(
                    update={
                        "ranges": tuple(
                            fact.model_copy(update={"input": f"{evil} $x$ --> \\bad{{"})
                            for fact in run_summary.audit.ranges
                        )
                    }
                ),
            }
        )
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;") >= 9
    Page(html)


def test_pinned_inputs_are_shown_with_what_they_clip(run_summary):
    pinned = {"name": "x", "dtype": "int8", "scale": 0.5847, "zero_point": 83, "requantized": True, "clipped": 0.00125}
    fact = PinnedFact(kind="input", converted_scale=0.42, converted_zero_point=-7, **pinned)
    evaluation = run_summary.evaluation
    candidates = tuple(
        one.model_copy(update={"outcome": one.outcome.model_copy(update={"pinned": (fact,)})})
        if one.outcome.status == "converted"
        else one
        for one in evaluation.candidates
    )
    shown = run_summary.model_copy(update={"evaluation": evaluation.model_copy(update={"candidates": candidates})})
    assert (
        "x: int8, scale 0.584700, zero point 83; clips 0.125% of the calibration sample; requantized from scale "
        "0.420000, zero point -7"
    ) in Page(render_report(shown)).text["inspection"]


def test_size_of_stored_predictions_is_shown_for_candidates_that_ran(run_summary):
    evaluation = run_summary.evaluation
    sizes = [None, 1_234_567, 89]
    candidates = tuple(
        one.model_copy(update={"predicted_bytes": size})
        for one, size in zip(evaluation.candidates, sizes, strict=False)
    )
    shown = run_summary.model_copy(update={"evaluation": evaluation.model_copy(update={"candidates": candidates})})
    _, second, third = candidates
    said = f"Size of the stored predictions: {second.name} 1,234,567 bytes, {third.name} 89 bytes."
    assert said in Page(render_report(shown)).text["candidates"]


def test_document_is_the_same_when_rendered_twice(html, run_summary):
    assert render_report(run_summary) == html


def test_report_is_a_whole_document_when_the_run_failed_early(run_summary):
    bare = RunSummary(
        pipeline="p",
        run_id="r",
        started=run_summary.started,
        seconds=130.0,
        verdict="failed",
        nodes=(NodeFact(id="train", state="failed", seconds=3.0, message="out of memory"),),
        devices=run_summary.devices,
        errors=("train: out of memory. Remedy: a smaller batch",),
    )
    page = Page(render_report(bare))
    assert "Remedy: a smaller batch" in page.text["verdict"]
    assert page.text["verdict"].count("its gate did not run") == 2
    assert "nodes took 2 min 10 s" in page.text[None]
    assert set(page.text) == {None, "verdict", "nodes"}


def test_report_is_a_whole_document_when_every_conversion_failed(run_summary):
    evaluation = run_summary.evaluation
    failed = tuple(c for c in evaluation.candidates if c.outcome.status == "failed")
    page = Page(
        render_report(
            run_summary.model_copy(update={"evaluation": evaluation.model_copy(update={"candidates": failed})})
        )
    )
    assert "Nothing could be measured" in page.text["pictures"]
    assert "No candidate was converted" in page.text["inspection"]


def test_file_holds_the_document_when_written(tmp_path, html, run_summary):
    assert write_report(run_summary, tmp_path / "run").read_text() == html


def test_heat_follows_size_and_sign_of_the_change_when_tabulated(run_summary):
    rows = {row.slice: row for row in slice_rows(run_summary, "accuracy")}
    assert len(rows) == 10
    worst = rows["label=8 bag"].cells
    assert [cell.heat for cell in worst] == [0, 0, -1, -1, -3]
    assert (worst[4].value, worst[4].change) == ("0.8280", "-0.1520")
    assert [cell.certain for cell in rows["overall"].cells] == [False, False, False, False, True]
    assert [cell.heat for cell in slice_rows(run_summary, "cross_entropy")[0].cells] == [0, 0, 1, 1, 3]


def test_change_that_rounds_to_zero_is_neither_colored_nor_marked(run_summary):
    evaluation = run_summary.evaluation
    first, *others = evaluation.candidates
    whole, *rest = first.slices
    tiny = MetricValue(value=2e-8, lower=1e-8, upper=3e-8)
    nearly = whole.model_copy(update={"change": {**whole.change, "accuracy": tiny}})
    changed = first.model_copy(update={"slices": (nearly, *rest)})
    evaluated = evaluation.model_copy(update={"candidates": (changed, *others)})
    summary = run_summary.model_copy(update={"evaluation": evaluated})
    cell = slice_rows(summary, "accuracy")[0].cells[0]
    assert (cell.change, cell.heat, cell.certain) == ("0.0000", 0, False)


def test_names_in_backticks_are_code(page, html):
    assert "<code>decide_on: test</code> limits how often that happens" in html
    assert "`" not in page.text["gate"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([0.5, 0.5, 0.5], [0.5, 0.6, 0.7]),
        ([0.0, 0.95, 1.2], [0.0, 0.9, 1.0]),
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.99] * 10, [0.1 * (index + 1) for index in range(10)]),
    ],
)
def test_labels_keep_their_distance_when_points_are_close(wanted, expected):
    assert figures.spread(wanted, 0.1) == pytest.approx(expected)


def test_picture_is_drawn_when_intervals_are_odd_or_missing(run_summary):
    evaluation = run_summary.evaluation
    odd = (
        MetricValue(value=float("nan")),
        MetricValue(value=0.9),
        MetricValue(value=0.9, lower=0.91, upper=0.95),  # a resampled interval need not hold the estimate
    )
    candidates = []
    for candidate, metric in zip(evaluation.candidates, odd, strict=False):
        whole = candidate.slices[0].model_copy(update={"metrics": {"accuracy": metric}})
        candidates.append(candidate.model_copy(update={"slices": (whole,)}))
    changed = run_summary.model_copy(
        update={"evaluation": evaluation.model_copy(update={"candidates": tuple(candidates)})}
    )
    svg = figures.accuracy_against_size(changed)
    assert svg is not None
    assert "currentColor" in svg


def test_constant_input_has_no_picture_but_its_numbers_when_rendered(run_summary):
    constant = RangeFact(
        input="zero",
        sample=(0.0, 0.0),
        split=(0.0, 0.0),
        halves=((0.0, 0.0), (0.0, 0.0)),
        histogram=(7,),
        split_histogram=(9,),
    )
    assert figures.ranges(constant, "x") is None
    audit = run_summary.audit.model_copy(update={"ranges": (constant,)})
    page = Page(render_report(run_summary.model_copy(update={"audit": audit})))
    assert "zero has only one value" in page.text["calibration"]
    assert row_of(page, "zero") == ["zero", "0 to 0", "0 to 0", "0 to 0", "0 to 0"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.signed(-0.00001), "0.0000"),
        (wording.signed(0.01), "+0.0100"),
        (wording.signed(float("nan")), "–"),  # noqa: RUF001
        (wording.duration(99.94), "99.9 s"),
        (wording.duration(125.0), "2 min 5 s"),
        (wording.with_interval(MetricValue(value=0.5)), "0.5000"),
    ],
)
def test_figures_are_written_for_people(written, expected):
    assert written == expected


def test_nothing_heavy_is_imported_when_the_report_modules_are():
    code = (
        "import sys, pipelines.report.render, pipelines.report.terminal; "
        "print([name for name in ('tensorflow', 'tfx', 'apache_beam', 'matplotlib', 'rich') if name in sys.modules])"
    )
    done = finished([sys.executable, "-c", code], check=True)
    assert done.stdout.strip() == "[]"


def test_how_closely_a_rebuilt_baseline_follows_its_original_is_in_report_and_table(plain_summary):
    facts = RebuiltFacts(
        keras_version="3.15.1",
        variables=4,
        examples={"random": 3, "real": 8},
        largest_difference=2.5e-7,
        output_scale=0.9,
        tolerance=1e-5,
    )
    summary = plain_summary.model_copy(update={"rebuilt": facts})
    said = (
        "rebuilt from a model of Keras 3.15.1: outputs differ by at most 2.5e-07 of their scale on 3 random and 8 real"
    )
    assert said in render_report(summary)
    console = Console(width=300, record=True)
    console.print(render_table(summary))
    assert said in console.export_text()
    assert "rebuilt" not in render_report(plain_summary)


def test_skipped_recipes_are_listed_with_their_reasons(plain_summary, page):
    assert "skipped" not in page.ids
    skipped = SkippedRecipe(name="masked", scheme="static_wi8_ai8", place=6, reasons=("a <mask>", "a cast"))
    for summary in (plain_summary, plain_summary.model_copy(update={"evaluation": None})):
        found = Page(render_report(summary.model_copy(update={"skipped": (skipped,)})))
        assert "masked" in found.text["skipped"]
        assert "static_wi8_ai8" in found.text["skipped"]
        assert "a <mask>" in found.text["skipped"]
        assert "a cast" in found.text["skipped"]
        assert found.position("section", id="verdict") < found.position("section", id="skipped")


def test_files_left_out_are_in_report_table_and_status(plain_summary, page):
    assert "left-out" not in page.ids
    first = ("photos/a<b>.png (an image that is cut off)", "photos/c.png (no image)")
    left_out = LeftOut(split="train", files=2000, damaged=30, bound=0.02, first=first)
    summary = plain_summary.model_copy(update={"left_out": (left_out,)})
    said = "30 damaged files of 2,000 of the split train left out: 1.50%, at most 2.00% allowed"
    section = Page(render_report(summary)).text["left-out"]
    assert said in section and all(name in section for name in first) and "And 28 more" in section
    console = Console(width=300, record=True)
    console.print(render_table(summary))
    assert f"examples: {said}" in console.export_text()


def test_front_is_drawn_and_the_place_of_the_chosen_candidate_explained(run_summary, page):
    said = " ".join(page.text["gate"].split())
    assert "Pareto front of accuracy against bytes: int8, dynamic, float16. int8 is on it" in said
    assert "does not show whether the bounds hold on other examples" in said
    bare = tuple(decision.model_copy(update={"fronts": {}}) for decision in run_summary.decisions)
    without = run_summary.model_copy(update={"decisions": bare})
    assert figures.accuracy_against_size(run_summary) != figures.accuracy_against_size(without)
