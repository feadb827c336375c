"""The files of a release other than the model: names of classes, model card, and the bundle for microcontrollers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.card.facts import card_facts
from components.card.text import model_card
from components.core.values import serialized
from components.facts.artifact_paths import BASELINE_SLICES_FILE, TFLM_FILE
from components.facts.conversion import Converted
from components.facts.decision import Decision
from components.facts.device import TflmFacts
from components.facts.evaluation import BaselineSlices, CandidateReport
from components.facts.verified import Verified
from components.push.microcontroller import bundle_of
from components.spec.card import CardSpec
from components.spec.devices.device import DeviceProfile

# Names of the classes, one per line, as tools for TensorFlow Lite expect them.
CLASSES_NAME = "labels.txt"
CARD_NAME = "model_card.md"
CARD_FACTS_NAME = "model_card.json"

Files = dict[str, bytes]


def classes_file(classes: Sequence[str]) -> Files:
    """Return the names of classes, in the order of the outputs, as a file. Line breaks in them become spaces."""
    content = "".join(f"{' '.join(name.splitlines())}\n" for name in classes)
    return {CLASSES_NAME: content.encode()} if classes else {}


def card_file(
    name: str,
    device: DeviceProfile,
    about: CardSpec,
    chosen: Verified,
    facts: CandidateReport,
    decision: Decision,
    parents: Mapping[str, str],
) -> Files:
    """Return the model card, and its facts as JSON. They contain no times, so the same facts produce the same files.

    Raises:
        ValidationError: The baseline's metrics can't be read.
    """
    if not isinstance(facts.outcome, Converted):
        return {}
    baseline = BaselineSlices()
    if BASELINE_SLICES_FILE in chosen.manifest.files:
        baseline = BaselineSlices.model_validate_json(chosen.read(BASELINE_SLICES_FILE))
    found = card_facts(name, device, facts, decision, baseline=baseline.slices, digests=parents, about=about)
    found = found.model_copy(update={"latency": None})
    return {CARD_NAME: model_card(found).encode(), CARD_FACTS_NAME: serialized(found)}


def bundle_files(chosen: Verified, model: bytes, facts: CandidateReport) -> Files:
    """Return the bundle for microcontrollers; none if TensorFlow Lite Micro didn't run the model.

    Raises:
        ValidationError: Its facts can't be read.
    """
    if TFLM_FILE not in chosen.manifest.files or not isinstance(facts.outcome, Converted):
        return {}
    measured = TflmFacts.model_validate_json(chosen.read(TFLM_FILE))
    return bundle_of(model, [use.name for use in facts.outcome.inspection.operators], measured)
