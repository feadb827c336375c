"""What `edgemill init` asks on a terminal, and what names an option elsewhere."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from components.core.errors import SpecError
from edgemill.project import questions
from edgemill.project.data import recognize_data
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput, match
from edgemill.project.lists import listed
from edgemill.project.objective import Model
from edgemill.project.plan import plan
from edgemill.project.questions import answered, can_ask, parsed
from edgemill.project.unclear import Question, UnclearError


def table(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def asked(folder: Path, text: str, shape: tuple[int | None, ...] = (2,), **options: object) -> UnclearError:
    """What is not clear about a table and a model with one input."""
    with pytest.raises(UnclearError) as caught:
        given = Options.model_validate(options)
        match(recognize_data(table(folder, text), given), {"x": ModelInput(shape=shape, dtype="float32")}, given)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.option, copy.default) == (str(caught.value), caught.value.option, caught.value.default)
    assert f"--{caught.value.option.replace('_', '-')}" in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("text", "options", "option", "default"),
    [
        ("a,b,kind\n1,2,x\n", {}, "label", "kind"),
        ("a,b,y,target\n1,2,3,4\n", {}, "label", "y"),
        ("a,b,kind\n1,2,x\n", {"label": "kid"}, "label", "kind"),
        ("name,a,b,c,y\nn,1,2,3,4\nm,1,2,3,5\n", {}, "columns", "a,b,c"),
        ("a,b,c,y\n1,2,3,4\n1,2,3,5\n", {}, "columns", "a,b"),
        ("a,b,y\n1,2,3\n", {"columns": ("z",)}, "columns", ""),
    ],
)
def test_question_about_a_table_has_a_default(
    text: str, options: dict[str, object], option: str, default: str, tmp_path: Path
) -> None:
    error = asked(tmp_path, text, **options)
    assert (error.option, error.default) == (option, default)


def test_open_shape_is_asked_for(tmp_path: Path) -> None:
    assert asked(tmp_path, "a,b,y\n1,2,3\n1,2,4\n", (None, None, 3)).default == "96,96,3"
    assert asked(tmp_path, "a,b,y\n1,2,3\n1,2,4\n", (None,)).default == ""


@pytest.mark.parametrize(("spread", "clear"), [(0.4, False), (5.0, True)])
def test_answers_near_the_labels_can_be_numbers_or_classes(spread: float, clear: bool, tmp_path: Path) -> None:
    rows = "".join(f"{number % 2},{number % 2}\n" for number in range(100))
    data = recognize_data(table(tmp_path, f"x,y\n{rows}"), Options())
    model = Model(inputs={"x": ModelInput(shape=(1,), dtype="float32")}, outputs=1)

    def run(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"": (values["x"] - 0.5) * 2 * spread}

    if clear:
        assert plan(data, model, Options(), run).objective == "two_classes"
        return
    with pytest.raises(UnclearError, match=r"outputs from -0\.40 to 0\.40.*`--objective values`"):
        plan(data, model, Options(), run)
    found = plan(data, model, Options(objective="values"), run)
    assert (found.objective, found.max_loss) == ("values", 0.025)
    assert plan(data, model, Options(objective="two_classes", max_loss=0.3), run).max_loss == 0.3
    with pytest.raises(SpecError, match="--objective: the model's output does not fit this objective"):
        plan(data, model, Options(objective="classes"), run)


def test_answers_are_asked_for_until_they_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["many", "96,96", "a, b"])
    monkeypatch.setattr("edgemill.project.questions.can_ask", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))

    def work(options: Options) -> str:
        if not options.input_shape:
            raise UnclearError("open", option="input_shape", question="Which?", remedy="say it")
        if not options.columns:
            raise UnclearError("none", option="columns", question="Which?", remedy="say it")
        return "done"

    assert answered(work, Options()) == ("done", Options(input_shape=(96, 96), columns=("a", "b")))
    assert "this is not a shape" in capsys.readouterr().out
    monkeypatch.setattr(questions, "can_ask", lambda: False)
    with pytest.raises(UnclearError, match="--input-shape: open"):
        answered(work, Options())


@pytest.mark.parametrize("name", ["apples, red", 'old "quince"', "日本 横縞", "it's #3: 100 %", "a\nb"])
def test_names_can_have_commas_quotes_and_spaces(name: str) -> None:
    names = ("pears", name, "plums")
    assert parsed("classes", listed(names)) == parsed("columns", listed(names)) == names
    assert parsed("classes", " pears, plums ") == ("pears", "plums")


@pytest.mark.parametrize(("option", "text"), [("sample_rate", "fast"), ("objective", "both"), ("input_shape", "0,2")])
def test_wrong_answer_names_its_option(option: Question, text: str) -> None:
    with pytest.raises(SpecError, match=f"--{option.replace('_', '-')}: .*found: {text}"):
        parsed(option, text)


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_nothing_is_asked_where_a_stream_was_closed_before_the_start(
    monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr(sys, stream, None)
    asks = can_ask()
    monkeypatch.undo()
    assert not asks
