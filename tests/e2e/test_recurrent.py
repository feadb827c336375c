"""The pipeline of docs/recurrent.md, as it stands there: every recipe, through conversion, evaluation and gate."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgemill.exit_codes import ExitCode
from pipelines.report.wording import in_words
from tests.node_ids import node_of
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e
PAGE = Path("docs/recurrent.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    small = SmallPipeline(tmp_path_factory.mktemp("recurrent"))
    (small.folder / "recurrent_page.py").write_text(blocks("python")[0])
    small.spec |= {"task": "recurrent_page:TASK", **yaml.safe_load(blocks("yaml")[0])}
    small.spec["baseline"]["epochs"] = 12
    return Ran(small.write(), "small")


def test_every_recipe_is_converted_and_as_accurate_as_the_float_model(ran: Ran) -> None:
    assert ran.code == ExitCode.OK, ran.output
    baseline = ran.summary.evaluation.baseline_slices[0].metrics["accuracy"].value
    assert baseline >= 0.95
    for candidate in ran.summary.evaluation.candidates:
        assert candidate.outcome.status == "converted", candidate.outcome
        assert candidate.slices[0].metrics["accuracy"].value >= baseline - 0.02, candidate.name
        if candidate.name != "float32":
            assert candidate.outcome.inspection.integer_only
            assert len(candidate.outcome.state_errors.rms) == 4
            assert candidate.outcome.lost_ranges == ()


def test_lowered_candidates_are_explained_against_float_files_of_the_same_form(ran: Ran) -> None:
    explained = {one.recipe: one for one in ran.summary.explanations}
    assert {"streaming", "streaming16", "sequence", "trained"} <= set(explained)
    for one in explained.values():
        assert (one.unavailable, len(one.layers) > 10) == ("", True), one.recipe


def test_gate_bounds_the_error_of_each_step(ran: Ran) -> None:
    (decision,) = ran.summary.decisions
    checks = {
        one.candidate: [in_words(c) for c in one.checks if c.quantity == "error of the state"]
        for one in decision.candidates
    }
    assert checks["float32"] == []
    for name in ("streaming", "streaming16", "sequence", "trained"):
        (check,) = checks[name]
        assert (check.bound, check.verdict) == ("at most 0.1 at every time step", "pass")
        assert re.match(r"0\.\d+ after step \d of 4, 64 sequences", check.measured), check.measured


def test_what_happens_to_each_layer_is_printed_before_anything_runs(ran: Ran) -> None:
    output = ran.output
    for words in ("recipe streaming: what happens to recurrent layers", "lowered", "unrolled", "loop"):
        assert words in output
    assert "recipe trained: what training does to each layer" in output


def test_contract_in_the_manifest_drives_the_file(ran: Ran) -> None:
    import json

    import tensorflow as tf

    names: dict[str, object] = {}
    exec(blocks("python")[1], names)
    node = node_of("convert", "streaming", ran.file)
    (manifest,) = (path for path in ran.root.rglob("manifest.json") if node in path.parts)
    held = json.loads(manifest.read_text())
    contract = held["streaming"]
    assert {state["input"] for state in contract["states"]} == {"state_gru_h", "state_sru_c"}
    runner = tf.lite.Interpreter(model_path=str(manifest.parent / held["content"])).get_signature_runner()
    frames = np.random.default_rng(0).integers(-128, 128, (4, 1, 4), np.int8)
    returned = names["drive"](lambda inputs: runner(**inputs), frames, contract)  # type: ignore[operator]
    assert returned["probabilities"].shape == (1, 3)
    assert abs(int(returned["probabilities"].astype(int).sum()) + 3 * 128 - 256) <= 2


def test_report_shows_the_growth_of_the_error(ran: Ran) -> None:
    html = (ran.folder / "report.html").read_text()
    for words in ("Recurrent layers", "Error per time step", "state_gru_h", "one time step per call"):
        assert words in html
