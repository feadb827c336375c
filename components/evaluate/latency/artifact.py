"""The artifact of one candidate's time on the host."""

from __future__ import annotations

from components.core.errors import tampered
from components.core.values import FrozenModel
from components.facts.evaluation import Latency
from components.facts.verified import Verified

LATENCY_FILE = "latency.json"


class LatencyReport(FrozenModel):
    """The measurement; None if one of the two files does not exist, or the candidate cannot run."""

    latency: Latency | None


def latency_of(artifact: Verified, candidate: Verified) -> Latency | None:
    """Read the node's measurement.

    Raises:
        TamperedError: It is from a different candidate, or has changed since it was written.
    """
    expected, found = candidate.manifest.sha256, artifact.manifest.parents.get("candidate")
    if found != expected:
        raise tampered("latency", artifact.place, f"candidate with sha256 {expected}", f"sha256 {found}")
    return LatencyReport.model_validate_json(artifact.read(LATENCY_FILE)).latency
