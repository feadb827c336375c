"""The model card: its sections, its metadata, and what it says about the chosen model."""

import json
import re

import pytest
import yaml
from jsonschema import Draft202012Validator

from components.card.facts import CardFacts, card_facts
from components.card.text import model_card
from components.core.errors import ModelError
from components.facts.evaluation import MetricValue
from components.spec.card import CardSpec
from pipelines.file.schema import schema_of_written
from pipelines.report.render import write_report
from tests.pipelines.report.conftest import make_summary


@pytest.fixture(scope="module")
def summary():
    return make_summary()


@pytest.fixture(scope="module")
def facts(summary) -> CardFacts:
    device = next(one for one in summary.devices if summary.decision_for(one.name).chosen)
    return summary.card_of(device)


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_card_has_the_sections_of_the_paper_in_order(facts) -> None:
    assert list(sections(model_card(facts))) == [
        "Model Details",
        "Intended Use",
        "Factors",
        "Metrics",
        "Evaluation Data",
        "Training Data",
        "Quantitative Analyses",
        "Ethical Considerations",
        "Caveats and Recommendations",
    ]


def test_metadata_is_yaml_with_the_measured_metrics(facts, summary) -> None:
    text = model_card(facts)
    assert text.startswith("---\n")
    metadata = yaml.safe_load(text.split("---\n")[1])
    (index,) = metadata["model-index"]
    (result,) = index["results"]
    chosen = next(one for one in summary.candidates if one.sha256 == facts.sha256)
    assert {one["type"]: one["value"] for one in result["metrics"]} == {
        name: one.value for name, one in chosen.slices[0].metrics.items()
    }
    assert {"type"} <= set(result["task"]) and {"type", "name"} <= set(result["dataset"])
    assert "license" not in metadata


def test_metric_that_could_not_be_computed_is_not_in_the_metadata(facts) -> None:
    whole = facts.slices[0]
    broken = whole.model_copy(update={"metrics": {**whole.metrics, "auc": MetricValue(value=float("nan"))}})
    text = model_card(facts.model_copy(update={"slices": (broken, *facts.slices[1:])}))
    assert yaml.safe_load(text.split("---\n")[1])["metrics"] == list(whole.metrics)


def test_card_says_what_was_measured_on_every_slice(facts) -> None:
    text = sections(model_card(facts))
    for one in facts.slices:
        assert f"| {one.slice} |" in text["Quantitative Analyses"]
    assert facts.sha256 in text["Model Details"]
    assert facts.why in text["Caveats and Recommendations"]
    assert "Add `card.intended_use` to the pipeline file" in text["Intended Use"]
    # A value that is not a number is a dash, not `nan`.
    assert "nan" not in model_card(facts)


def test_what_people_know_is_in_its_section(facts) -> None:
    about = CardSpec(**{field: f"words about {field} | 1 < 2" for field in CardSpec.model_fields})
    text = model_card(facts.model_copy(update={"about": about}))
    assert "Not stated" not in text
    found = sections(text)
    assert "words about intended_use | 1 < 2" in found["Intended Use"]
    assert "words about out_of_scope" in found["Intended Use"]
    assert "words about factors" in found["Factors"]
    assert "words about ethical_considerations" in found["Ethical Considerations"]
    # Tables keep their columns.
    assert "| License | words about license \\| 1 &lt; 2 |" in found["Model Details"]
    assert yaml.safe_load(text.split("---\n")[1])["license"] == about.license


def test_facts_are_json_that_can_be_read_again(facts) -> None:
    again = CardFacts.model_validate_json(facts.model_dump_json())
    assert model_card(again) == model_card(facts)
    assert json.loads(facts.model_dump_json())["format"] == 1


def test_facts_are_valid_by_their_schema(facts) -> None:
    schema = schema_of_written(CardFacts)
    Draft202012Validator.check_schema(schema)
    validator, written = Draft202012Validator(schema), json.loads(facts.model_dump_json())
    validator.validate(written)
    # A metric that could not be computed on a slice is not a number.
    assert any(value["value"] == "NaN" for each in written["slices"] for value in each["metrics"].values())
    # New fields don't change `format`, but other kinds of values do.
    validator.validate({**written, "later": 1, "about": {**written["about"], "later": 1}})
    assert not validator.is_valid({**written, "bytes": "many"})
    assert not validator.is_valid({**written, "format": 2})
    assert not validator.is_valid({**written, "saturated": "none"})


def test_only_a_chosen_candidate_has_a_card(summary) -> None:
    decision = next(one for one in summary.decisions if one.chosen)
    other = next(one for one in summary.candidates if one.name != decision.chosen)
    with pytest.raises(ModelError, match="only the candidate that a gate chose"):
        card_facts("clothes", summary.devices[0], other, decision)


def test_cards_lie_beside_the_report(summary, tmp_path) -> None:
    write_report(summary, tmp_path)
    chosen = sorted(one.device for one in summary.decisions if one.chosen)
    assert sorted(path.name for path in (tmp_path / "cards").iterdir()) == sorted(
        f"{device}.{ending}" for device in chosen for ending in ("json", "md")
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("label=<script>alert(1)</script>", "label=&lt;script>alert(1)&lt;/script>"),
        ("label=[x](javascript:alert(1))", "label=\\[x](javascript:alert(1))"),
        ("label=a\n\n## b", "label=a ## b"),
    ],
)
def test_names_from_data_are_not_markup_anywhere(facts, name, shown) -> None:
    slices = (*facts.slices[:1], facts.slices[0].model_copy(update={"slice": name}))
    text = model_card(facts.model_copy(update={"slices": slices, "baseline": slices}))
    assert f"one slice of the evaluation data: {shown}." in text
    assert f"| {shown} |" in text
    assert name not in text and "1 slices" not in text
