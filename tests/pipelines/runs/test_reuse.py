"""Results that nodes reuse from each other, by the content of the model that they run."""

from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import InferenceResult, Model

from components.upstream.tfx.cache import Execution, SharedKey, shared_keys
from pipelines.file.environment import environment
from pipelines.file.load import load_pipeline
from pipelines.graph.build import build_pipeline
from pipelines.runs.lineage import trace
from pipelines.runs.reuse import key_by_content
from pipelines.storage.metadata_connection import connection_config, open_store
from tests.small_pipeline import SmallPipeline

PREDICTOR = "components.predict.component.Predictor"
MEASUREMENT = "components.device_check.measure.component.DeviceMeasurement"


@component
def Holds(model: OutputArtifact[Model], content: Parameter[str], role: Parameter[str], state: Parameter[str]) -> None:
    """Writes a model with its properties. `state` stands for whatever else differs."""
    Path(model.uri, "model").write_text(state)
    for name, value in {"sha256": content, "role": role}.items():
        model.set_string_custom_property(name, value)


@component
def Runs(
    candidate: InputArtifact[Model],
    measurement: OutputArtifact[InferenceResult],
    spec: Parameter[str],
    recipe: Parameter[str],
    retry: Parameter[str],
) -> None:
    """Stands for a node that runs a model."""
    Path(measurement.uri, "ran").write_text(spec + recipe)
    measurement.set_int_custom_property("transient", int(spec == "by chance" and not retry))


def key_of(execution: Execution) -> SharedKey | None:
    """As in a run, for the node of this test."""
    kind = MEASUREMENT if execution.kind.endswith(".Runs") else execution.kind
    return key_by_content(Execution(kind, execution.inputs, execution.parameters))


class Launched:
    """Runs pairs of nodes, one after the other, with TFX's launcher."""

    def __init__(self, folder: Path) -> None:
        self.url, self.root = f"sqlite:{folder / 'metadata.sqlite'}", str(folder / "root")
        self.counted = 0

    def __call__(self, *pairs: tuple[str, str], spec: str = "asked", retry: str = "", new: bool = True) -> list[str]:
        """Run a pair for each (content, role), in order. Return the states of the nodes that run models.

        If `new`, each model is another artifact than before, even with the same content.
        """
        nodes: list[Any] = []
        self.counted += new
        for content, role in pairs:
            name = f"{role}_{len(nodes)}"
            holds = Holds(content=content, role=role, state=str(self.counted)).with_id(f"holds_{name}")
            runs = Runs(candidate=holds.outputs["model"], spec=spec, recipe=name, retry=retry).with_id(f"runs_{name}")
            if nodes:
                holds.add_upstream_node(nodes[-1])
            nodes += [holds, runs]
        before = {one.id for one in open_store(self.url).get_executions()}
        pipeline = Pipeline(
            pipeline_name="reuse",
            pipeline_root=self.root,
            components=nodes,
            enable_cache=True,
            metadata_connection_config=connection_config(self.url),
        )
        with shared_keys(key_of):
            LocalDagRunner().run(pipeline)
        found = sorted(open_store(self.url).get_executions(), key=lambda one: one.id)
        ran = [one for one in found if one.id not in before and "recipe" in one.custom_properties]
        return [one.State.Name(one.last_known_state) for one in ran]


@pytest.fixture
def launched(tmp_path: Path) -> Launched:
    return Launched(tmp_path)


def test_equal_bytes_from_another_node_are_not_run_again_and_each_execution_is_recorded(launched: Launched) -> None:
    assert launched(("a", "candidate"), ("a", "champion"), ("b", "champion"), ("b", "candidate")) == [
        "COMPLETE",
        "CACHED",
        "COMPLETE",
        # What a champion was rejected for can be an error of a candidate.
        "COMPLETE",
    ]
    store = open_store(launched.url)
    shared = min(store.get_artifacts_by_type("InferenceResult"), key=lambda one: one.id)
    made = trace(store, shared, compare=False).children
    assert [one.label for one in made] == ["runs_candidate_0"]
    events = [event for event in store.get_events_by_artifact_ids([shared.id]) if event.type == event.OUTPUT]
    assert len(events) == 2
    # A later run, in which the names have changed and the models were written again.
    assert launched(("b", "candidate"), ("a", "candidate"), ("b", "champion")) == ["CACHED"] * 3


def test_other_bytes_and_other_parameters_are_run(launched: Launched) -> None:
    assert launched(("a", "candidate"), ("c", "champion")) == ["COMPLETE", "COMPLETE"]
    assert launched(("a", "champion"), ("c", "candidate"), spec="other") == ["COMPLETE", "COMPLETE"]


def test_transient_result_is_not_reused_by_another_node(launched: Launched) -> None:
    assert launched(("a", "candidate"), ("a", "champion"), spec="by chance") == ["COMPLETE", "COMPLETE"]
    assert launched(("a", "candidate"), spec="by chance", retry="1", new=False) == ["COMPLETE"]
    assert launched(("a", "candidate"), spec="by chance", retry="1", new=False) == ["CACHED"]


def test_keys_are_those_of_the_nodes_that_run_candidates_and_champions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    small = SmallPipeline(tmp_path)
    small.spec["devices"] = ["cortex_m55", "cortex_m4"]
    small.spec["gate"]["champion"] = "report"
    built = build_pipeline(load_pipeline(small.write()), environment(tmp_path / "root", None), "1").components
    model = Model()
    model.set_string_custom_property("sha256", "a" * 64)
    keys: dict[str, Any] = {}
    for node in built:
        inputs = {name: [model if channel.type is Model else channel.type()] for name, channel in node.inputs.items()}
        execution = Execution(node.type, inputs, node.exec_properties)
        if (key := key_by_content(execution)) is not None:
            keys[node.id] = {name: part for name, part in key.parts.items() if isinstance(part, str)}
    predicted = {name for name in keys if name.startswith("predict__")}
    measured = set(keys) - predicted
    assert measured == {
        f"{name}__{device}{recipe}"
        for device in ("cortex_m55", "cortex_m4")
        for name, recipe in (("measure", "__float32"), ("measure", "__int8"), ("measure_champion", ""))
    }
    assert len(predicted) == 4 and "predict__baseline" not in predicted
    # For the same bytes, a champion and all candidates have the same key, on all devices with the same tools.
    assert len({str(sorted(keys[name].items())) for name in measured}) == 1
    assert len({str(sorted(keys[name].items())) for name in predicted}) == 1
