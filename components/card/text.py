"""A model card as Markdown, with the sections of Mitchell et al. 2019 ("Model Cards for Model Reporting",
arXiv:1810.03993) and the metadata of Hugging Face's cards as YAML at its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import yaml

from components.card.facts import CardFacts
from components.facts.decision import Check
from components.facts.evaluation import MetricValue, SliceResult
from components.facts.explanation import decibels
from components.facts.slices import overall

_SECTIONS = (
    "Model Details",
    "Intended Use",
    "Factors",
    "Metrics",
    "Evaluation Data",
    "Training Data",
    "Quantitative Analyses",
    "Ethical Considerations",
    "Caveats and Recommendations",
)
_AGAINST = {"pass": "not worse", "fail": "worse", "not_enough_data": "no difference shown"}
_UNSTATED = "*Not stated. Add `card.{field}` to the pipeline file.*"


def model_card(facts: CardFacts) -> str:
    """The card of a model. Equal facts give the same text."""
    about = facts.about
    bodies = (
        _details(facts),
        [_stated(about.intended_use, "intended_use"), *_optional("Out of scope", about.out_of_scope)],
        [*_factors(facts), *([about.factors] if about.factors else [])],
        _metrics(facts),
        [_stated(about.evaluation_data, "evaluation_data"), *_digests(facts, ("examples", "evaluation"))],
        [_stated(about.training_data, "training_data"), *_digests(facts, ("baseline", "calibration"))],
        _analyses(facts),
        [_stated(about.ethical_considerations, "ethical_considerations")],
        [*_caveats(facts), *([about.caveats] if about.caveats else [])],
    )
    blocks = [
        _metadata(facts),
        f"# {facts.name} for {facts.device}",
        *([about.description] if about.description else []),
    ]
    for title, body in zip(_SECTIONS, bodies, strict=True):
        blocks += [f"## {title}", *body]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _metadata(facts: CardFacts) -> str:
    whole = overall(facts.slices)
    known = {name: one.value for name, one in whole.metrics.items() if math.isfinite(one.value)} if whole else {}
    content = {
        **({"license": facts.about.license} if facts.about.license else {}),
        "library_name": "tflite",
        "tags": ["tflite", "edgemill", facts.recipe.scheme.kind, facts.device],
        "metrics": list(known),
        "model-index": [
            {
                "name": facts.name,
                "results": [
                    {
                        "task": {"type": "other"},
                        "dataset": {"type": "other", "name": "evaluation split"},
                        "metrics": [{"type": name, "value": value} for name, value in known.items()],
                    }
                ],
            }
        ],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True).strip()}\n---"


def _details(facts: CardFacts) -> list[str]:
    steps = ", ".join(step.kind for step in facts.recipe.steps) or "none"
    rows = [
        ("Made by", facts.about.owners or _UNSTATED.format(field="owners")),
        ("License", facts.about.license or _UNSTATED.format(field="license")),
        ("Device", f"{facts.device} ({facts.device_class}): {facts.device_description}"),
        ("Recipe", f"{facts.recipe.name}: steps {steps}, scheme {facts.recipe.scheme.kind}"),
        ("SHA-256", f"`{facts.sha256}`"),
        ("Bytes", f"{facts.bytes:,}" + (f", {facts.compressed_bytes:,} under gzip" if facts.compressed_bytes else "")),
        ("Numbers", "integers only" if not facts.float_tensors else f"{facts.float_tensors} float tensors"),
        ("Operators", ", ".join(f"{one.name} ({one.count})" for one in facts.operators)),
    ]
    if facts.streaming is not None:
        rows.append(("Form", f"one time step per call, with {len(facts.streaming.states)} states to keep"))
    tensors = [
        (role, one.signature or one.name, " × ".join(map(str, one.shape)), one.dtype, _scale(one.scale, one.zero_point))  # noqa: RUF001
        for role, those in (("input", facts.inputs), ("output", facts.outputs))
        for one in those
    ]
    return [
        _table(("", ""), rows),
        "A real value is scale x (integer - zero point).",
        _table(("", "Name", "Shape", "Type", "Scale, zero point"), tensors),
    ]


def _scale(scale: float | None, zero_point: int | None) -> str:
    return "–" if scale is None else f"{scale:.6g}, {zero_point}"  # noqa: RUF001


def _factors(facts: CardFacts) -> list[str]:
    slices = [one.slice for one in facts.slices[1:]]
    if not slices:
        return ["The evaluation has no slices. Add the features that matter to `evaluate.slices`."]
    shown = ", ".join(map(_plain, slices[:12])) + (", …" if len(slices) > 12 else "")
    number = "one slice" if len(slices) == 1 else f"{len(slices)} slices"
    return [f"The metrics were measured on {number} of the evaluation data: {shown}."]


def _metrics(facts: CardFacts) -> list[str]:
    how = {
        "estimate": "The measured value of each metric was compared with its bound.",
        "interval": "The 95 % interval of each metric was compared with its bound.",
        "test": f"Each bound was tested, with a probability of a wrong blessing of at most {facts.alpha or 0:g}.",
    }
    rows = [
        (
            one.quantity,
            _plain(one.scope),
            f"{one.op.replace('_', ' ')} {one.bound:g}" if isinstance(one, Check) else one.bound,
            ("–" if one.measured is None else f"{one.measured:.6g}") if isinstance(one, Check) else one.measured,  # noqa: RUF001
            one.verdict.replace("_", " "),
        )
        for one in facts.checks
    ]
    blocks = [how.get(facts.decide_on, ""), _table(("Check", "Where", "Bound", "Measured", "Verdict"), rows)]
    return [*blocks, *_champion(facts)]


def _champion(facts: CardFacts) -> Iterator[str]:
    if facts.champion is None:
        return
    yield f"Compared with the previous release, {facts.champion.version}, on the same examples:"
    rows = [
        (
            one.quantity,
            _plain(one.scope),
            "–" if one.measured is None else f"{one.measured:+.6g}",  # noqa: RUF001
            _AGAINST[one.verdict],
        )
        for candidate in facts.champion.candidates
        for one in candidate.checks
    ]
    yield _table(("Change", "Where", "Measured", "Result"), rows)


def _analyses(facts: CardFacts) -> list[str]:
    before = {one.slice: one for one in facts.baseline}
    blocks = ["All figures were measured on the same examples, with 95 % confidence intervals. The baseline is float."]
    for name in dict.fromkeys(name for one in facts.slices for name in one.metrics):
        rows = [
            (_plain(one.slice), f"{one.examples:,}", _value(before.get(one.slice), name), _value(one, name),
             _figure(one.change.get(name)), _flips(one, name))
            for one in facts.slices
            if name in one.metrics
        ]  # fmt: skip
        head = ("Slice", "Examples", "Baseline", "Model", "Change", "Right to wrong, wrong to right")
        blocks += [f"### {name}", _table(head, rows)]
    return blocks


def _value(result: SliceResult | None, name: str) -> str:
    return _figure(result.metrics.get(name)) if result else "–"  # noqa: RUF001


def _figure(value: MetricValue | None) -> str:
    if value is None or not math.isfinite(value.value):
        return "–"  # noqa: RUF001
    if value.lower is None or value.upper is None:
        return f"{value.value:.4f}"
    return f"{value.value:.4f} [{value.lower:.4f}, {value.upper:.4f}]"


def _flips(result: SliceResult, name: str) -> str:
    flips = result.flips.get(name)
    return "–" if flips is None else f"{flips.lost:,}, {flips.gained:,}"  # noqa: RUF001


def _caveats(facts: CardFacts) -> Iterator[str]:
    yield f"The gate chose this model: {_plain(facts.why)}."
    if facts.saturated:
        yield f"{facts.saturated:.2%} of its output values are at an end of their integer range."
    found = facts.explanation
    if found is not None and found.outputs:
        worst = decibels(max(found.outputs.values()))
        yield (
            f"Compared with the float model, the signal-to-noise ratio of its output is {worst:.1f} dB on "
            f"{found.examples} examples."
        )
    for fault in found.faults if found is not None else ():
        yield f"The layer {_plain(fault.layer)} ({fault.operator}) adds most of its error: {fault.evidence}."


def _digests(facts: CardFacts, roles: Sequence[str]) -> Iterator[str]:
    rows = [(role, f"`{facts.digests[role]}`") for role in roles if role in facts.digests]
    if rows:
        yield _table(("Artifact", "SHA-256"), rows)


def _stated(text: str, field: str) -> str:
    return text or _UNSTATED.format(field=field)


def _optional(title: str, text: str) -> list[str]:
    return [f"**{title}**: {text}"] if text else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _plain(text: str) -> str:
    """Text that contains names from data or models, which are neither HTML, nor links, nor paragraphs."""
    return " ".join(text.split()).replace("<", "&lt;").replace("[", "\\[")


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
