"""The gate's decision for a device."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from components.core.values import FrozenModel

Verdict = Literal["pass", "fail", "not_enough_data"]


# A drop or a rise is a change from the baseline for the worse.
Operation = Literal["at_least", "at_most", "drop_at_most", "rise_at_most"]
# Units of figures. `pipelines.report.wording` defines how each unit is shown. Metrics have no unit.
Unit = Literal[
    "",
    "bytes",
    "cycles",
    "operators",
    "ratio",
    "microseconds",
    "fraction_of_values",
    "state_error",
    "LSB",
    "mean_LSB_from_desktop",
]


# How a bound is tested (`components.gate.evidence`).
Method = Literal["exact paired test", "exact binomial test", "bounded-mean test", "paired jackknife"]


class BoundTest(FrozenModel):
    """The test of one bound.

    Attributes:
        method: How it was tested.
        p: How likely an outcome at least as good is if the bound does not hold.
        corrected: `p` with Holm's correction for all tests of the candidate.
        p_of_harm: How likely an outcome at least as bad is if the bound holds; None if the check passed.
        alpha: The check passes if `corrected` is at most this.
        enough: Approximate number of examples that the slice needs to pass in 80 % of evaluations, if the true value is
            the measured one; None if the check passed, or the estimate is beyond the bound.
    """

    method: Method
    p: float
    corrected: float
    p_of_harm: float | None = None
    alpha: float
    enough: int | None = None


class Check(FrozenModel):
    """One measured figure compared with one numeric bound.

    Attributes:
        quantity: The measured quantity (`accuracy`, `change of accuracy`, `file bytes`, `latency ratio`).
        scope: The slice or, for a budget, the name of the device.
        op: The required relation of the figure to the bound.
        bound: The bound.
        measured: The figure; None if it was not measured.
        unit: Unit of the figure and the bound.
        verdict: Verdict of this check alone.
        lower, upper: Ends of the figure's 95% confidence interval, if there is one.
        note: What else matters for judging the figure, or why it was not measured.
        test: The test behind the verdict, with `decide_on: test`.
    """

    quantity: str
    scope: str
    op: Operation
    bound: float
    measured: float | None
    unit: Unit = ""
    verdict: Verdict
    lower: float | None = None
    upper: float | None = None
    note: str = ""
    test: BoundTest | None = None


class Requirement(FrozenModel):
    """One requirement that is not numeric: a scheme, a set of operators, or a file that a tool accepts.

    Attributes:
        quantity, scope, verdict: As for `Check`.
        bound: A description of the requirement.
        measured: A description of the finding.
    """

    quantity: str
    scope: str
    bound: str
    measured: str
    verdict: Verdict

    @model_validator(mode="before")
    @classmethod
    def _with_earlier_names(cls, value: Any) -> Any:
        """Releases from before checks were numeric have the fields `what` and `where`."""
        renamed = {"what": "quantity", "where": "scope"}
        return {renamed.get(name, name): one for name, one in value.items()} if isinstance(value, dict) else value


class CandidateDecision(FrozenModel):
    """The verdict on one candidate for one device. `fail` overrides `not_enough_data`, which overrides `pass`."""

    candidate: str
    verdict: Verdict
    checks: tuple[Check | Requirement, ...]

    @property
    def reasons(self) -> tuple[Check | Requirement, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.verdict != "pass")


class AgainstChampion(FrozenModel):
    """The comparison of one candidate with the device's champion.

    Attributes:
        candidate: Name of the recipe.
        verdict: `same` if it is the champion's file; `fail` if it is worse; `not_enough_data` if it is shown to be
            neither worse nor good enough; else `pass`. None if nothing was compared.
        checks: The compared figures.
    """

    candidate: str
    verdict: Verdict | Literal["same"] | None = None
    checks: tuple[Check, ...] = ()


class ChampionVerdict(FrozenModel):
    """The comparison of all candidates with the device's champion.

    Attributes:
        mode: `report` if this is only reported; `require` if it decides.
        state: As in `components.facts.champion.Champion`.
        version, sha256, path: The release, its model's digest, and its address; None without one.
        recipe, scheme: Name of its recipe, and kind of its scheme; empty without one.
        why: Why nothing was compared; empty otherwise.
        notes: What else to keep in mind.
        candidates: The candidates, in the order of the pipeline file.
    """

    mode: Literal["report", "require"]
    state: Literal["found", "none", "unknown"]
    version: str | None = None
    sha256: str | None = None
    path: str | None = None
    recipe: str = ""
    scheme: str = ""
    why: str = ""
    notes: tuple[str, ...] = ()
    candidates: tuple[AgainstChampion, ...] = ()

    def of(self, candidate: str) -> AgainstChampion | None:
        """How a candidate compares; None if it is unknown."""
        return next((one for one in self.candidates if one.candidate == candidate), None)


class Decision(FrozenModel):
    """The gate's decision for one device.

    Attributes:
        device: Name of the device profile.
        verdict: `pass` if a candidate is blessed; else `not_enough_data` if a candidate has that verdict; else `fail`.
        chosen: The blessed candidate; None unless the verdict is `pass`.
        chosen_sha256: Digest of the blessed bytes. A pusher must compare it before it delivers them.
        why: One sentence on why this candidate was chosen, or why none was.
        metric: The metric that ranks accuracy.
        fronts: Cost (`bytes`, `gzip bytes`, `host time`, `NPU cycles`) -> the candidates on the Pareto front of that
            metric against the cost, among those that pass, from the lowest cost to the highest.
        decide_on: The quantity that bounds on metrics were compared with, as in `components.spec.gate.GateSpec`.
        alpha: With `decide_on: test`, the highest probability of a wrong blessing.
        champion: How the candidates compare with the device's champion; None if the policy doesn't compare.
        candidates: All candidates, in the order of the pipeline file.
    """

    device: str
    verdict: Verdict
    chosen: str | None
    chosen_sha256: str | None
    why: str
    metric: str = ""
    fronts: dict[str, tuple[str, ...]] = {}
    decide_on: Literal["estimate", "interval", "test"] = "estimate"
    alpha: float | None = None
    champion: ChampionVerdict | None = None
    candidates: tuple[CandidateDecision, ...]
