"""The samples of an evaluation add up to its metrics, for every kind of metric that has one."""

import numpy as np
import pytest

from components.evaluate.assess import load_slices, spans_of
from components.evaluate.eval_config import BASELINE
from components.evaluate.evaluation import ranked
from components.evaluate.means import mean_metrics
from components.metrics.functions import load_metric
from components.metrics.metric_ranges import limits_of
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import SHORT_NAMES, MetricSpec
from tests.predicted import predict_and_evaluate


@pytest.mark.parametrize("group_by", [None, "site"])
def test_samples_add_up_to_the_metrics_on_every_slice(world, task, tmp_path, group_by):
    error = {"name": "error", "class_name": "MeanAbsoluteError", "range": [0, 1]}
    metrics = ["accuracy", "cross_entropy", "binary_accuracy", error, "auc"]
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
    names = [metric.name for metric in spec.metrics]
    found = load_slices(tmp_path, [BASELINE, "int8"], names)
    for slices in found.values():
        for one in slices:
            # A slice of one class has no area.
            assert one.samples.keys() == ({*names} if one.slice == "overall" else {*names} - {"auc"})
            for name, sample in one.samples.items():
                numerators, denominators = sample.terms
                assert numerators.sum() / denominators.sum() == pytest.approx(one.metrics[name].value, abs=1e-5)
                assert len(numerators) == (one.examples if group_by is None else len(set(world.sites)))
                assert sample.outside == 0
            assert one.groups == (None if group_by is None else len(set(world.sites)))
    whole, base = (found[model][0].samples["auc"] for model in ("int8", BASELINE))
    np.testing.assert_array_equal(whole.terms[1], base.terms[1])


@pytest.mark.parametrize(("config", "span"), [({}, 12.5), ({"max_detections": 20}, 2.5), ({"max_detections": 8}, 1.0)])
def test_more_detections_can_change_an_average_precision_by_more(config, span):
    metric = MetricSpec.model_validate({"name": "map", "function": "coco_map", "config": config})
    assert spans_of(EvaluationSpec(metrics=(metric,))) == {"map": span}


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_every_metric_with_a_short_name_is_tested_once_its_range_is_known(name):
    metric = MetricSpec.model_validate({"name": name, **SHORT_NAMES[name]})
    if limits_of(metric) is None:
        metric = metric.model_copy(update={"range": (0.0, 5.0)})
    is_sum = bool(mean_metrics([metric])) or bool(metric.function and load_metric(metric).is_ratio)
    assert is_sum or ranked([metric]) or name in spans_of(EvaluationSpec(metrics=(metric,)))
