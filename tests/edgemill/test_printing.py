from pathlib import Path

import pytest
from rich.console import Console

from components.facts.conversion import Inspection, TensorFact
from components.facts.training import LayerPlan
from edgemill.commands.inspect import print_inspection
from edgemill.commands.lineage import short_tree_of, tree_of
from edgemill.terminal import print_previews, summaries
from pipelines.report.summary import LineageNode

# Rich would swallow the first as a tag and stumble over the second.
BRACKETS = ("[batch, 28, 28, 1]", "[/data/x]")


def test_inspection_prints_brackets_as_they_are_when_tensors_are_named_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tensors = tuple(
        TensorFact(name=name, shape=(1,), dtype="FLOAT32", bytes=4, scales=0, sparsity=0.0, unique_values=1)
        for name in BRACKETS
    )
    inspection = Inspection(
        file_bytes=8,
        weight_bytes=4,
        operators=(),
        dtype_counts={"FLOAT32": 2},
        inputs=tensors[:1],
        outputs=tensors[1:],
        weights=tensors,
        float_tensors=BRACKETS,
        stateful=False,
    )
    print_inspection(Path("[bold]m.tflite"), inspection)
    said = capsys.readouterr().out
    assert "[bold]m.tflite: 8 bytes" in said
    assert [said.count(name) for name in BRACKETS] == [3, 3]


def test_lineage_prints_brackets_as_they_are_when_labels_hold_them(capsys: pytest.CaptureFixture[str]) -> None:
    leaf = LineageNode(label=BRACKETS[1], kind="file", details={"shape": BRACKETS[0]})
    Console(soft_wrap=True).print(tree_of(LineageNode(label="model", kind="file", children=(leaf,))))
    said = capsys.readouterr().out
    assert BRACKETS[1] in said
    assert f"shape: {BRACKETS[0]}" in said


def test_short_lineage_has_one_line_for_each_artifact(capsys: pytest.CaptureFixture[str]) -> None:
    def made(label: str, maker: str, *inputs: LineageNode, **details: str) -> LineageNode:
        by = LineageNode(label=maker, kind="execution", details={"spec": "{}"}, children=inputs)
        return LineageNode(label=label, kind="Model", details={"uri": "/a", **details}, children=(by,))

    examples = made("Examples 1", "examples", version="0", verified="NO: changed")
    again = LineageNode(label="Examples 1 as examples", kind="Examples", details={"lineage": "shown above"})
    model = made("Model 2 as baseline", "baseline", again, sha256="ab" * 32, verified="yes")
    release = made("PushedModel 3", "push__phone", examples, model, device="phone", version="cd", release_path="/r")
    Console(soft_wrap=True, markup=False).print(short_tree_of(release))
    said = [line.lstrip("│├└─ ") for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "PushedModel 3 by push__phone: phone, release cd",
        "Examples 1 by examples: CHANGED",
        "Model 2 as baseline by baseline: sha256 abababababab, verified",
        "Examples 1 as examples: shown above",
    ]
    several = LineageNode(label="2 releases of these bytes", kind="releases", children=(release, release))
    Console(soft_wrap=True).print(short_tree_of(several))
    assert capsys.readouterr().out.count("PushedModel 3") == 2


@pytest.mark.parametrize(
    ("modes", "subject", "counts"),
    [
        (("pruned", "pruned", "as it is"), "what pruning does to each layer", "2 pruned, 1 as it is"),
        (("as it is", "clustered"), "what clustering does to each layer", "1 as it is, 1 clustered"),
        (("trained", "float", "lowered"), "what training does to each layer", "1 trained, 1 float, 1 lowered"),
        (("lowered", "fused"), "what happens to recurrent layers", "1 lowered, 1 fused"),
        (("float", "float"), "what stays in float", "2 float"),
        (("as it is",), "what happens to each layer", "1 as it is"),
    ],
)
def test_preview_is_titled_by_what_it_shows_and_summed_up_in_a_line(
    capsys: pytest.CaptureFixture[str], modes: tuple[str, ...], subject: str, counts: str
) -> None:
    layers = [
        LayerPlan.model_validate({"layer": f"l{i}", "kind": "Dense", "mode": mode}) for i, mode in enumerate(modes)
    ]
    assert summaries({"small, [a]": layers}) == (f"recipe small, [a]: {subject}: {counts}",)
    print_previews({"small": layers})
    said = capsys.readouterr().out
    assert f"recipe small: {subject}" in " ".join(said.split())
    assert all(f"l{i}" in said for i in range(len(modes)))


def test_summary_of_a_recipe_has_the_note_that_all_layers_share() -> None:
    layers = [LayerPlan(layer=name, kind="Dense", mode="float", note="at least 1,024 elements") for name in "ab"]
    assert summaries({"a": layers}) == ("recipe a: what stays in float: 2 float (at least 1,024 elements)",)
