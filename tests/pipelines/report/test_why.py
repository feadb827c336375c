"""The section on why candidates differ, and the files for Model Explorer."""

import json

import yaml

from components.facts.explanation import Explanation, Fault, LayerError, Remedy
from components.facts.node_data import node_data
from components.spec.recipe import Recipe
from components.spec.steps.qat import QatStep
from pipelines.report.render import render_report, write_report
from pipelines.report.why import as_yaml, result_of

LAYERS = tuple(
    LayerError(layer=layer, operator=operator, tensor=f"{layer}_tensor", place=place, total=total, own=own,
               weights=own / 2, activations=own / 2, channels=own, beyond=0.0)
    for place, (layer, operator, own, total) in enumerate(
        [("image", "INPUT", 0.0, 0.0), ("model/stem", "CONV_2D", 1e-5, 1e-5),
         ("model/head<b>", "FULLY_CONNECTED", 0.2, 0.1)],
        start=-1,
    )
)  # fmt: skip
FAULT = Fault(
    layer="model/head<b>",
    operator="FULLY_CONNECTED",
    tensor="model/head<b>_tensor",
    cause="one_scale",
    evidence="its weights have one scale",
    remedy=Remedy(words="keep it float", recipe={"name": "int8_cured", "scheme": {"kind": "static_wi8_ai8"}}),
)
BAD = Explanation(
    recipe="int8", scheme="static_wi8_ai8", examples=32, source="calibration sample", layers=LAYERS, faults=(FAULT,),
    outputs={"probabilities": 0.1},
)  # fmt: skip
NONE = Explanation(recipe="dynamic", scheme="dynamic_wi8_afp32", unavailable="the process died.")


def test_report_names_the_first_bad_layer_its_cause_and_the_recipe_that_cures_it(run_summary) -> None:
    html = render_report(run_summary.model_copy(update={"explanations": (BAD, NONE)}))
    section = html[html.index('<section id="why">') :].partition("</section>")[0]
    assert "The first bad layer is model/head&lt;b&gt; (FULLY_CONNECTED): its weights have one scale." in section
    assert "The signal-to-noise ratio of the output is 10.0 dB" in section
    assert "- {name: int8_cured, scheme: {kind: static_wi8_ai8}}" in section
    assert "There is no explanation: the process died." in section
    assert "<svg" in section
    assert "<td" in section and "7.0" in section and "exact" in section
    # In the order of the pipeline file, not of the nodes.
    assert section.index("dynamic_wi8_afp32") < section.index("model/head")
    assert '<a href="#why">' in html
    assert 'id="why"' not in render_report(run_summary)


def test_sound_candidate_lists_the_layers_that_add_most() -> None:
    sound = BAD.model_copy(update={"faults": ()})
    assert "no single layer is bad" in result_of(sound)
    assert "most error: model/head<b> (7.0 dB), model/stem (50.0 dB)." in result_of(sound)


def test_node_data_is_that_of_model_explorer(run_summary, tmp_path) -> None:
    write_report(run_summary.model_copy(update={"explanations": (BAD, NONE)}), tmp_path)
    files = sorted(path.name for path in (tmp_path / "node_data").iterdir())
    assert files == [f"int8.{figure}.json" for figure in ("activations", "own", "total", "weights")]
    (graph,) = json.loads((tmp_path / "node_data" / "int8.own.json").read_bytes()).items()
    name, data = graph
    assert name == "main"
    # The nodes of Model Explorer are numbered as the operators of the file. Values must be numbers.
    assert data["results"] == {"image_tensor": {"value": 100.0}, "0": {"value": 50.0}, "1": {"value": 6.99}}
    assert [sorted(one) for one in data["thresholds"]] == [["bgColor", "value"]] * 4
    values = [one["value"] for one in data["thresholds"]]
    assert values == sorted(values)
    assert node_data(NONE) == {}


def test_node_data_names_the_graph_as_model_explorer_does() -> None:
    """Model Explorer ignores node data of a graph that the file doesn't have."""
    (graph,) = json.loads(node_data(BAD.model_copy(update={"graph": "torso"}))["own"])
    assert graph == "torso"


def test_cure_has_only_what_differs_from_defaults() -> None:
    step = QatStep(kind="qat", epochs=2, layers=("conv*",))
    recipe = {"name": "a_cured", "steps": [step.model_dump(mode="json")], "scheme": "static_wi8_ai16"}
    line = as_yaml(recipe)
    assert line == "- {name: a_cured, steps: [{kind: qat, epochs: 2, layers: [conv*]}], scheme: static_wi8_ai16}"
    (read,) = yaml.safe_load(line)
    assert Recipe.model_validate(read) == Recipe.model_validate(recipe)
