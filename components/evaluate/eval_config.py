"""TFMA's configuration of an evaluation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from components.evaluate.exact_auc import ExactAUC
from components.evaluate.extractors import MODEL_TYPE
from components.evaluate.function_metric import FunctionMetric
from components.evaluate.jackknife import model_names
from components.evaluate.means import registered_name
from components.metrics.ranks import is_exact_auc
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import MetricSpec

# No recipe can have this name, because recipe names have no hyphens.
BASELINE = "float-baseline"
_WEIGHTS = "example_weights"


def eval_config(
    spec: EvaluationSpec, label: str, candidates: Sequence[str], metrics: Sequence[MetricSpec], weighted: bool
) -> Any:
    """Return TFMA's config.

    Args:
        spec: Slices, and the outputs that all metrics read.
        label: Name of the label; "" for none.
        candidates: Names of the models besides the baseline.
        metrics: Metrics to compute, not necessarily all metrics of the spec.
        weighted: Whether examples have weights.
    """
    read = sorted({metric.output for metric in spec.metrics if metric.output is not None})
    # TFMA requires a key, but the extracts contain the labels.
    label = label or "label"
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=name,
                model_type=MODEL_TYPE,
                is_baseline=bool(candidates) and name == BASELINE,
                example_weight_key=_WEIGHTS if weighted else "",
                # With several outputs, labels are targets by output.
                **({"label_keys": dict.fromkeys(read, label)} if read else {"label_key": label}),
            )
            for name in (BASELINE, *candidates)
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=features) for features in spec.slices),
        ],
    )
    for output, those in itertools.groupby(
        sorted(metrics, key=lambda each: each.output or ""), key=lambda each: each.output
    ):
        config.metrics_specs.add(
            metrics=[metric_config(each) for each in those],
            model_names=model_names(config),
            output_names=[] if output is None else [output],
        )
    config.options.compute_confidence_intervals.value = True
    config.options.confidence_intervals.method = config_pb2.ConfidenceIntervalOptions.JACKKNIFE
    return config


def metric_config(metric: MetricSpec) -> Any:
    """Return TFMA's config of a metric."""
    config = json.dumps({**metric.config, "name": metric.name})
    if metric.function:
        config = json.dumps({"spec": metric.model_dump_json(), "name": metric.name})
        return config_pb2.MetricConfig(
            class_name=FunctionMetric.__name__, module=FunctionMetric.__module__, config=config
        )
    if is_exact_auc(metric.class_name, metric.config):
        return config_pb2.MetricConfig(class_name=ExactAUC.__name__, module=ExactAUC.__module__, config=config)
    return config_pb2.MetricConfig(class_name=registered_name(metric.class_name), config=config)
