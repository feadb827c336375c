"""The section on what changed."""

import base64

from components.facts.changes import ChangedExample, Changes, ShownInput
from components.facts.evaluation import Flips
from pipelines.report.changed import curve_svg, result_of
from pipelines.report.render import render_report

PIXEL = base64.b64encode(b"not read here").decode()
WORST = ChangedExample(
    example="0123456789abcdef",
    flip="lost",
    distance=0.51,
    target="3 dress",
    before="3 dress (0.9)",
    after="4 coat<b> (0.8)",
    inputs=(
        ShownInput(name="image", kind="image", png=PIXEL),
        ShownInput(name="", kind="curves", curves=((0.0, 1.0), (1.0, 0.0))),
        ShownInput(name="words", kind="text", text="a <script>"),
    ),
)
INT8 = Changes(recipe="int8", examples=1000, answered=12, lost=8, gained=4, worst=(WORST,))
FLOAT16 = Changes(recipe="float16", examples=1000, answered=0, lost=0, gained=0)


def test_report_shows_the_examples_that_changed_most(run_summary) -> None:
    html = render_report(run_summary.model_copy(update={"changes": (INT8, FLOAT16)}))
    section = html[html.index('<section id="changed">') :].partition("</section>")[0]
    assert "8 that the baseline gets right become wrong, and 4 that it gets wrong become right." in section
    assert f'<img src="data:image/png;base64,{PIXEL}" alt="image of example 0123456789ab">' in section
    assert "<polyline" in section and "words: a &lt;script&gt;" in section
    assert "candidate: 4 coat&lt;b&gt; (0.8)" in section and ">lost</span>" in section
    # In the order of the pipeline file.
    assert section.index("<h3>float16") < section.index("<h3>int8")
    assert '<section id="changed">' not in render_report(run_summary)


def test_result_says_what_can_be_said() -> None:
    assert result_of(Changes(recipe="a", examples=10, answered=3)) == (
        "Of 10 examples, 3 get a class other than the baseline's."
    )
    assert "changed by 0.51 of the usual size" in result_of(Changes(recipe="a", examples=10, worst=(WORST,)))
    assert result_of(Changes(recipe="a", unavailable="this candidate has no predictions: it failed.")) == (
        "This candidate has no predictions: it failed."
    )


def test_curves_share_one_scale_and_a_constant_one_is_drawn() -> None:
    drawn = curve_svg(((0.0, 10.0), (5.0, 5.0)))
    assert 'points="0.0,80.0 160.0,0.0"' in drawn and 'points="0.0,40.0 160.0,40.0"' in drawn
    assert 'points="0.0,80.0"' in curve_svg(((7.0,),))


def test_slices_have_their_flips(run_summary) -> None:
    evaluation = run_summary.evaluation
    first = evaluation.candidates[0]
    whole = first.slices[0].model_copy(update={"flips": {"accuracy": Flips(lost=3, gained=1_200)}})
    changed = first.model_copy(update={"slices": (whole, *first.slices[1:])})
    candidates = (changed, *evaluation.candidates[1:])
    summary = run_summary.model_copy(update={"evaluation": evaluation.model_copy(update={"candidates": candidates})})
    assert render_report(summary).count("3 lost, 1,200 gained") == 1
    assert "0 lost" not in render_report(summary)
