"""The section on ranges and float layers, from a run with one candidate of each kind."""

import pytest

from components.facts.conversion import ActivationRange, FloatSearch, LayerSensitivity
from pipelines.report import sections
from pipelines.report.render import render_report
from pipelines.report.sections import options_of, recovery_views
from tests.pipelines.report.test_render import Page, row_of

RANGES = tuple(
    ActivationRange(
        tensor=f"net/layer_{index}/Relu",
        observed=(0.0, 10.0),
        chosen=(0.0, 2.0 + 0.5 * index),
        histogram=(900, 60, 30, 9, 0, 0, 0, 0, 0, 1) if index == 0 else (),
        histogram_bounds=(0.0, 10.0) if index == 0 else (0.0, 0.0),
    )
    for index in range(12)
)
LAYERS = (
    LayerSensitivity(layer="net/<hard>", operators=("CONV_2D", "MAX_POOL_2D"), error=0.25, kept_float=True),
    LayerSensitivity(layer="net/dense", operators=("FULLY_CONNECTED",), error=1e-4, kept_float=False),
    LayerSensitivity(layer="net/add", operators=("ADD",), error=0.0, kept_float=False),
)
SEARCH = FloatSearch(metric="accuracy", examples=1500, float_value=0.9125, max_drop=0.01, drops=(0.045, -0.0075))


@pytest.fixture(scope="module")
def recovered(request):
    summary = request.getfixturevalue("run_summary")
    float32, float16, dynamic, int8, per_tensor, failed = summary.evaluation.candidates

    def changed(candidate, options, **facts):
        return candidate.model_copy(
            update={
                "recipe": type(candidate.recipe).model_validate(
                    {"name": candidate.name, "scheme": {"kind": "static_wi8_ai8", **options}}
                ),
                "outcome": candidate.outcome.model_copy(update=facts),
            }
        )

    candidates = (
        float32,
        float16,
        dynamic,
        changed(int8, {"calibration_method": "percentile"}, ranges=RANGES),
        changed(per_tensor, {"keep_float": "auto"}, sensitivity=LAYERS, search=SEARCH, ranges=()),
        failed,
    )
    evaluation = summary.evaluation.model_copy(update={"candidates": candidates})
    return summary.model_copy(update={"evaluation": evaluation})


@pytest.fixture(scope="module")
def page(recovered):
    return Page(render_report(recovered))


def test_only_candidates_with_these_options_have_a_section(recovered, plain_summary):
    assert recovery_views(plain_summary) == []
    assert "recovery" not in Page(render_report(plain_summary)).text
    assert [view.name for view in recovery_views(recovered)] == ["int8", "int8_per_tensor"]


def test_search_is_reported_in_figures(page):
    text = " ".join(page.text["recovery"].split())
    assert "1 of 3 layers stay float. On the 1,500 calibration examples the float model's accuracy is 0.9125" in text
    assert "at most 0.01 worse is allowed, and it is 0.0075 better (0.045 worse with none float)" in text
    assert ["0", "0.045"] in page.rows and ["1", "-0.0075"] in page.rows


def test_numbers_of_the_pictures_are_in_the_tables(page):
    assert row_of(page, "net/<hard>")[1:] == ["CONV_2D, MAX_POOL_2D", "0.25", "6.0", "float"]
    assert row_of(page, "net/dense")[1:] == ["FULLY_CONNECTED", "0.0001", "40.0", "integers"]
    assert row_of(page, "net/add")[1:] == ["ADD", "0", "inf", "integers"]
    assert row_of(page, "net/layer_0/Relu")[1:] == ["0 to 10", "0 to 2", "80.0 %"]


def test_ten_ranges_are_shown_and_the_rest_counted(page):
    assert sum(row[0].startswith("net/layer_") for row in page.rows if row) == 10
    assert "Ranges, most clipped first (10 of 12)" in page.text["recovery"]


def test_each_candidate_has_its_pictures_with_captions_and_own_identifiers(page):
    assert len(page.ids) == len(set(page.ids))
    labels = [found.get("aria-label", "") for tag, found in page.tags if tag == "figure"]
    assert sum(label.startswith("Sensitivity of the layers of int8_per_tensor") for label in labels) == 1
    assert sum(label.startswith("The range of int8 that was clipped most") for label in labels) == 1
    assert ("a", {"href": "#recovery"}) in page.tags


def test_float_layers_have_another_color_and_a_pattern():
    svg = sections.sensitivity(LAYERS, "x")
    assert sections.SPLIT in svg and sections.PASSED in svg and "<pattern" in svg
    assert sections.SPLIT not in sections.sensitivity(LAYERS[1:], "x")
    assert sections.sensitivity(LAYERS[2:], "x") is None
    assert svg == sections.sensitivity(LAYERS, "x")


def test_nothing_is_drawn_of_a_constant():
    constant = ActivationRange(tensor="t", observed=(0, 3), chosen=(0, 3), histogram=(7,), histogram_bounds=(3, 3))
    assert sections.clipped_range(constant, "x") is None
    assert sections.clipped_range(RANGES[1], "x") is None


def test_options_are_written_in_words(recovered):
    texts = [options_of(candidate) for candidate in recovered.evaluation.candidates]
    assert texts == ["", "", "", "calibration percentile 99.9", "keep_float auto", ""]
