import pytest

from components.spec.steps.sparsity import SparsityTarget, SparsityVerification, TensorSparsity
from pipelines.report.render import render_report
from tests.pipelines.report.conftest import plain_cells
from tests.pipelines.report.test_terminal import printed

WEIGHT = {
    "tensor": "model/<dense>/MatMul",
    "operator": "FULLY_CONNECTED",
    "shape": (10, 1568),
    "wanted": 0.8,
    "encoding": "1x4",
    "densify": False,
}


def proof(verdict, reason, **changes):
    tensor = TensorSparsity(**WEIGHT | {"sparsity": 0.797, "verdict": verdict, "reason": reason})
    facts = {
        "target": SparsityTarget(structure="block_1x4", sparsity=0.8),
        "dense_bytes": 83_716,
        "delivered": "sparse",
    }
    reasons = (reason,) if reason else ()
    return SparsityVerification(**facts | {"verdict": verdict, "reasons": reasons, "tensors": (tensor,)} | changes)


@pytest.fixture
def pruned(plain_summary):
    def pruned(made):
        first, *others = plain_summary.evaluation.candidates
        outcome = first.outcome.model_copy(update={"sparsity": made})
        candidates = (first.model_copy(update={"outcome": outcome}), *others)
        evaluation = plain_summary.evaluation.model_copy(update={"candidates": candidates})
        return plain_summary.model_copy(update={"evaluation": evaluation})

    return pruned


def section(summary):
    return plain_cells(render_report(summary).partition('<section id="sparsity">')[2].partition("</section>")[0])


def test_no_section_when_nothing_was_pruned(plain_summary):
    assert section(plain_summary) == ""
    assert not any(line.startswith("sparsity of") for line in printed(plain_summary, 400))


def test_section_reports_figures_and_proof_when_sparsity_is_proven(pruned):
    made = proof("proven", "", sparse_bytes=30_212, time_ratio=0.331, difference=2.5e-7, tolerance=1e-4)
    html = section(pruned(made))
    for expected in (
        '<span class="badge proven">proven</span>',
        "<dd>83,716 bytes</dd>",
        "<dd>30,212 bytes, delivered</dd>",
        "<dd>0.33</dd>",
        "<dd>2.5e-07 of the largest, at most 0.0001</dd>",
        "<code>model/&lt;dense&gt;/MatMul</code>",
        "<td>10 × 1568</td>",  # noqa: RUF001
        '<td class="n">0.797</td><td class="n">0.800</td><td>1x4</td><td>no</td>',
    ):
        assert expected in html
    assert "finding" not in html
    assert "sparsity of float32: proven" in [line.strip() for line in printed(pruned(made), 400)]


@pytest.mark.parametrize(("verdict", "kind"), [("lost", "error"), ("stored_only", "warning")])
def test_section_reports_why_when_sparsity_is_not_proven(pruned, verdict, kind):
    html = section(pruned(proof(verdict, "zeros are <gone>", delivered="dense")))
    assert f'<p class="finding {kind}">zeros are &lt;gone&gt;.</p>' in html
    assert f'<span class="badge {verdict}">{verdict.replace("_", " ")}</span>' in html
    assert "<dd>83,716 bytes, delivered</dd>" in html
    assert "<dd>not made</dd>" in html
    lines = printed(pruned(proof(verdict, "zeros are <gone>", delivered="dense")), 400)
    assert f"sparsity of float32: {verdict.replace('_', ' ')}; zeros are <gone>" in [line.strip() for line in lines]
