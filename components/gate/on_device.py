"""Metrics under a device's own runtime, in place of the desktop's."""

from __future__ import annotations

from components.facts.device import DeviceReport, TflmFacts
from components.facts.evaluation import CandidateReport, EvaluationReport
from components.facts.slices import overall
from components.gate.tools import TFLM


class OnDevice:
    """The metrics under the device's runtime, if it ran any examples.

    Attributes:
        report: The evaluation's report with the metrics of the device's runtime if it ran the candidate's file.
        complete: Whether these metrics cover all examples of the evaluation, so that the desktop's add nothing.
    """

    def __init__(self, report: EvaluationReport, on_device: DeviceReport | None) -> None:
        self._found = {one.name: one for one in on_device.candidates} if on_device else {}
        ran = any(isinstance(one.tflm, TflmFacts) for one in self._found.values())
        there = on_device.baseline_slices if on_device and ran else report.baseline_slices
        here, whole = overall(report.baseline_slices), overall(there)
        self.complete = ran and here is not None and whole is not None and whole.examples >= here.examples
        candidates = tuple(map(self._measured, report.candidates))
        self.report = report.model_copy(update={"baseline_slices": there, "candidates": candidates})

    def runtime(self, name: str) -> str | None:
        """The runtime that ran a candidate's file; None if only the desktop did."""
        facts = self._found.get(name)
        return TFLM if facts is not None and isinstance(facts.tflm, TflmFacts) else None

    def _measured(self, candidate: CandidateReport) -> CandidateReport:
        facts = self._found.get(candidate.name)
        if facts is None or not isinstance(facts.tflm, TflmFacts):
            return candidate
        return candidate.model_copy(update={"slices": facts.tflm.slices})
