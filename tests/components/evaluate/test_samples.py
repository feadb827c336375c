"""The samples of an evaluation add up to its metrics, for every kind of metric that has one."""

import numpy as np
import pytest

from components.evaluate.assess import load_slices
from components.evaluate.eval_config import BASELINE
from components.spec.evaluate import EvaluationSpec
from tests.predicted import predict_and_evaluate


@pytest.mark.parametrize("group_by", [None, "site"])
def test_samples_add_up_to_the_metrics_on_every_slice(world, task, tmp_path, group_by):
    metrics = ["accuracy", "cross_entropy", "auc"]
    spec = EvaluationSpec.model_validate({"metrics": metrics, "slices": [["label"]], "group_by": group_by})
    predict_and_evaluate(
        files=world.files,
        baseline=world.saved_model,
        candidates={"int8": world.tflite["int8"]},
        spec=spec,
        label="label",
        task=task,
        output=tmp_path,
    )
    found = load_slices(tmp_path, [BASELINE, "int8"], metrics)
    for slices in found.values():
        for one in slices:
            # A slice of one class has no area.
            assert one.samples.keys() == ({*metrics} if one.slice == "overall" else {"accuracy", "cross_entropy"})
            for name, sample in one.samples.items():
                numerators, denominators = sample.terms
                assert numerators.sum() / denominators.sum() == pytest.approx(one.metrics[name].value, abs=1e-5)
                assert len(numerators) == (one.examples if group_by is None else len(set(world.sites)))
                assert sample.outside == 0
            assert one.groups == (None if group_by is None else len(set(world.sites)))
    whole, base = (found[model][0].samples["auc"] for model in ("int8", BASELINE))
    np.testing.assert_array_equal(whole.terms[1], base.terms[1])
