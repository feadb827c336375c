"""Recipes with estimated ranges and float layers, from the pipeline file to the report."""

import pytest

from edgemill.exit_codes import ExitCode
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    small = SmallPipeline(tmp_path_factory.mktemp("recovery"))
    small.spec["recipes"] = [
        {"name": "int8", "scheme": "static_wi8_ai8"},
        {
            "name": "clipped",
            "scheme": {"kind": "static_wi8_ai8", "calibration_method": {"kind": "percentile", "percentile": 99}},
        },
        {"name": "auto", "scheme": {"kind": "static_wi8_ai8", "calibration_method": "mse", "keep_float": "auto"}},
        {"name": "named", "scheme": {"kind": "static_wi8_ai8", "keep_float": ["*conv2d*"]}},
    ]
    return Ran(small.write(), "small")


def test_run_pushes_and_reports_them(ran: Ran) -> None:
    assert ran.code == ExitCode.OK, ran.output
    assert ran.summary is not None and ran.summary.evaluation is not None
    by_name = {one.name: one for one in ran.summary.evaluation.candidates}
    assert {one.outcome.status for one in by_name.values()} == {"converted"}
    whole, clipped, auto, named = (by_name[name].outcome for name in ("int8", "clipped", "auto", "named"))
    assert whole.ranges == () and whole.sensitivity == ()
    assert clipped.inspection.integer_only and clipped.ranges[0].clipped > 0
    assert auto.search.metric == "accuracy"
    assert auto.search.max_drop == 0.05
    assert auto.search.examples == 100
    assert auto.search.drops[-1] <= 0.05
    assert len(auto.sensitivity) == 3
    assert sum(layer.kept_float for layer in auto.sensitivity) == len(auto.search.drops) - 1
    (kept,) = (layer for layer in named.sensitivity if layer.kept_float)
    assert "conv2d" in kept.layer and kept.operators == ("CONV_2D", "RESHAPE")
    assert not named.inspection.integer_only
    # The evaluator finds inputs and outputs of the second back-end's files, and they predict as the first's do.
    for one in by_name.values():
        assert one.slices[0].metrics["accuracy"].value >= 0.9
        assert abs(one.slices[0].change["accuracy"].value) <= 0.05


def test_report_has_a_section_on_them(ran: Ran) -> None:
    assert ran.folder is not None
    html = next(ran.folder.glob("*.html")).read_text()
    assert 'id="recovery"' in html
    assert "What each layer costs alone" in html
    assert "The range that was clipped most" in html
