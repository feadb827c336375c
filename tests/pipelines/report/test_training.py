import pytest

from components.facts.training import EpochFact, PruningSensitivity, TrainingReport, WeightFact
from pipelines.report.render import render_report
from tests.pipelines.report.conftest import plain_cells


@pytest.fixture
def html(plain_summary):
    epochs = (EpochFact(epoch=1, learning_rate=0.001, seconds=2.0, figures={"loss": 0.4}),)
    kernel = {"layer": "hid<den", "weight": "recurrent_kernel", "shape": (64, 32)}
    pruned = TrainingReport(
        recipe="sparse",
        kind="prune",
        epochs=epochs,
        best_epoch=1,
        weights=(WeightFact(**kernel, sparsity=0.8, unique_values=1234, wanted_sparsity=0.8),),
        sensitivity=(PruningSensitivity(layer="hid<den", levels=(0.5, 0.9), errors=(0.0123, 1.5), chosen=0.7),),
    )
    clustered = TrainingReport(
        recipe="few",
        kind="cluster",
        epochs=epochs,
        best_epoch=1,
        weights=(WeightFact(**kernel, sparsity=0.0, unique_values=15, wanted_values=16),),
    )
    summary = plain_summary.model_copy(update={"trainings": (pruned, clustered)})
    return plain_cells(render_report(summary).partition('<section id="training">')[2].partition("</section>")[0])


def test_zeros_and_values_are_listed_next_to_the_requested_values(html):
    shape = "<td>recurrent_kernel</td><td>64 × 32</td>"  # noqa: RUF001
    none = '<td class="n">–</td>'  # noqa: RUF001
    assert (
        f'<th scope="row">hid&lt;den</th>{shape}<td class="n">0.800</td><td class="n">0.800</td>'
        f'<td class="n">1,234</td>{none}' in html
    )
    assert f'{shape}<td class="n">0.000</td>{none}<td class="n">15</td><td class="n">16</td>' in html


def test_sensitivity_is_reported_where_it_was_measured(html):
    assert html.count("with one layer alone pruned to each sparsity") == 1
    assert '<td class="n">0.0123</td><td class="n">1.5</td><td class="n">0.700</td>' in html


def test_steps_without_quantization_have_no_table_of_it(html):
    assert "What happened to each layer" not in html
    assert "Trained ranges of activations" not in html
