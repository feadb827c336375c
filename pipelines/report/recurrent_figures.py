"""Charts of lowered recurrent models: how the error of the state grows over time steps. Same style as `figures`."""

from __future__ import annotations

from components.core.values import FrozenModel
from components.facts.conversion import Converted, StateErrors
from components.facts.evaluation import CandidateReport
from components.facts.streaming import StreamingContract
from pipelines.report.figures import PASSED, SPLIT, style, svg
from pipelines.report.summary import RunSummary


class RecurrentView(FrozenModel):
    """One candidate's section.

    Attributes:
        name: The candidate's name.
        steps: Errors of its states at each time step.
        streaming: The streaming contract; None for a model of a whole sequence.
        picture: SVG of the errors.
    """

    name: str
    steps: StateErrors | None
    streaming: StreamingContract | None
    picture: str | None


def recurrent_views(summary: RunSummary) -> list[RecurrentView]:
    """Return the sections of candidates whose recurrent layers were lowered."""
    candidates = summary.evaluation.candidates if summary.evaluation else ()
    return [view for index, one in enumerate(candidates) if (view := _view(one, f"steps{index}")) is not None]


def _view(candidate: CandidateReport, salt: str) -> RecurrentView | None:
    outcome = candidate.outcome
    if not isinstance(outcome, Converted) or not (outcome.steps or outcome.streaming):
        return None
    picture = state_errors(outcome.steps, salt) if outcome.steps else None
    return RecurrentView(name=candidate.name, steps=outcome.steps, streaming=outcome.streaming, picture=picture)


def state_errors(errors: StateErrors, salt: str) -> str:
    """Draw the root mean square and the greatest error after each time step."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with style():
        figure = Figure(figsize=(3.8, 2.6), layout="constrained")
        axes = figure.subplots()
        steps = range(1, len(errors.rms) + 1)
        axes.plot(steps, errors.rms, color=PASSED, label="root mean square")
        axes.plot(steps, errors.worst, color=SPLIT, linestyle="--", label="greatest")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("time step")
        axes.set_ylabel("error of the state")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
        return svg(figure, salt)
