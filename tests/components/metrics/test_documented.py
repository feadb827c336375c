"""The examples of docs/metrics.md run as they are."""

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from components.metrics.functions import CLASSES, load_metric, total
from components.spec.evaluate import EvaluationSpec
from components.spec.metric import SHORT_NAMES

PAGE = Path("docs/metrics.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_example_has_the_values_that_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, console, *_ = blocks("python")
    (tmp_path / "my_metrics.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = dict(vars(importlib.import_module("my_metrics")))
    case = doctest.DocTestParser().get_doctest(console, names, "docs/metrics.md", None, 0)
    assert len(case.examples) == 6
    assert doctest.DocTestRunner().run(case, clear_globs=False).failed == 0
    _, own = blocks("yaml")
    predictions, targets, features = (case.globs[name] for name in ("predictions", "targets", "features"))
    metrics = EvaluationSpec.model_validate(yaml.safe_load(own)["evaluate"]).metrics
    for metric, expected in zip(metrics, (0.2966, 2 / 3), strict=True):
        computed = load_metric(metric)
        kept = computed.examples(predictions, targets, {name: features[name] for name in metric.features})
        assert total(computed, kept) == pytest.approx(expected, abs=1e-4)
    monkeypatch.delitem(sys.modules, "my_metrics")


def test_pipeline_file_of_the_page_is_valid() -> None:
    first, _ = blocks("yaml")
    metrics = EvaluationSpec.model_validate(yaml.safe_load(first)["evaluate"]).metrics
    assert [metric.function for metric in metrics] == ["", "", "step_accuracy", "my_metrics:normalized_error"]


def test_page_lists_every_ready_made_function() -> None:
    rows = re.findall(r"^\| `(.+?)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    short = {name for names, _ in rows for name in names.split("`, `")}
    assert short == {name for name, given in SHORT_NAMES.items() if "function" in given}
    assert {function for _, function in rows} == set(CLASSES)
