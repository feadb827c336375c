"""The report's sections on trainings, recurrent layers, ranges, and layers that stay in float, with their charts."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.values import FrozenModel
from components.facts.conversion import ActivationRange, Converted, FloatSearch, LayerSensitivity, StateErrors
from components.facts.evaluation import CandidateReport
from components.facts.streaming import StreamingContract
from components.facts.training import TrainingReport
from pipelines.report.figures import OTHER, PASSED, SPLIT, chart, draw_density, legend_above, plain, shorten, svg
from pipelines.report.summary import RunSummary

# Number of tensors to list, the most clipped first.
MOST_RANGES = 10
# More bars would not be distinguishable. The table lists all.
_MOST_BARS = 24


class TrainingPictures(FrozenModel):
    """SVGs of one training. A resumed training might have no epochs, and a custom scheme might not report ranges."""

    loss: str | None
    ranges: str | None


def training_pictures(training: TrainingReport, salt: str) -> TrainingPictures:
    """Draw one training. `salt` makes the identifiers unique in a document."""
    return TrainingPictures(loss=_loss(training, f"{salt}-loss"), ranges=_ranges(training, f"{salt}-ranges"))


def _loss(training: TrainingReport, salt: str) -> str | None:
    if not training.epochs:
        return None
    from matplotlib.ticker import MaxNLocator

    with chart(2.6) as axes:
        epochs = [fact.epoch for fact in training.epochs]
        for name, label, color in (("loss", "training", PASSED), ("val_loss", "held out", SPLIT)):
            if name in training.epochs[0].figures:
                losses = [fact.figures[name] for fact in training.epochs]
                axes.plot(epochs, losses, color=color, marker="o", markersize=4, label=label)
        axes.axvline(training.best_epoch, color=OTHER, linewidth=0.8, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        legend_above(axes)
        return svg(axes.figure, salt)


def _ranges(training: TrainingReport, salt: str) -> str | None:
    ranges = training.ranges[:_MOST_BARS]
    if not ranges:
        return None
    with chart(max(2.0, 0.22 * len(ranges) + 0.9)) as axes:
        for row, one in enumerate(reversed(ranges)):
            if one.seen is not None:
                axes.plot(one.seen, [row, row], color=SPLIT, linewidth=1, marker="|", markersize=6)
            axes.plot([one.low, one.high], [row, row], color=PASSED, linewidth=4, solid_capstyle="butt")
        axes.set_yticks(range(len(ranges)), [plain(shorten(one.tensor)) for one in reversed(ranges)])
        widest = max(one.high - one.low for one in ranges)
        if widest > 50 * min(one.high - one.low for one in ranges):
            axes.set_xscale("symlog", linthresh=widest / 100)
        axes.set_xlabel("values")
        return svg(axes.figure, salt)


class RecurrentView(FrozenModel):
    """The section of one candidate whose recurrent layers were lowered: errors of its states at each time step, with
    their SVG, or its streaming contract.
    """

    name: str
    steps: StateErrors | None
    streaming: StreamingContract | None
    picture: str | None


def recurrent_views(summary: RunSummary) -> list[RecurrentView]:
    """Return the sections of candidates whose recurrent layers were lowered."""
    views = []
    for index, one in enumerate(summary.candidates):
        if isinstance(one.outcome, Converted) and (one.outcome.state_errors or one.outcome.streaming):
            steps, streaming = one.outcome.state_errors, one.outcome.streaming
            picture = _state_errors(steps, f"steps{index}") if steps else None
            views.append(RecurrentView(name=one.name, steps=steps, streaming=streaming, picture=picture))
    return views


def _state_errors(errors: StateErrors, salt: str) -> str:
    """Draw the root mean square and the largest error after each time step."""
    from matplotlib.ticker import MaxNLocator

    with chart(2.6) as axes:
        steps = range(1, len(errors.rms) + 1)
        axes.plot(steps, errors.rms, color=PASSED, label="root mean square")
        axes.plot(steps, errors.worst, color=SPLIT, linestyle="--", label="greatest")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("time step")
        axes.set_ylabel("error of the state")
        legend_above(axes)
        return svg(axes.figure, salt)


class RecoveryView(FrozenModel):
    """One candidate's section.

    Attributes:
        options: `calibration_method` and `keep_float` as text.
        ranges, more_ranges: The tensors that were clipped most, and the number of other tensors.
        range_picture, layer_picture: SVG; None if there is nothing to draw.
    """

    name: str
    options: str
    ranges: tuple[ActivationRange, ...]
    more_ranges: int
    sensitivity: tuple[LayerSensitivity, ...]
    search: FloatSearch | None
    range_picture: str | None
    layer_picture: str | None


def recovery_views(summary: RunSummary) -> list[RecoveryView]:
    """Return the sections of candidates with estimated ranges or float layers."""
    views = (_recovery_view(one, f"recovery{index}") for index, one in enumerate(summary.candidates))
    return [view for view in views if view is not None]


def options_of(candidate: CandidateReport) -> str:
    """Return, for example, `calibration percentile 99.9, keep_float auto`; empty if neither option is used."""
    estimator, kept = candidate.recipe.scheme.range_estimator, candidate.recipe.scheme.kept_float
    options = []
    if estimator.kind != "min_max":
        options.append(f"calibration {estimator.kind}")
        if estimator.kind == "percentile":
            options[0] += f" {estimator.percentile:g}"
    if kept is not None:
        names = f" {', '.join(kept.names)}" if kept.kind == "layers" else " auto"
        options.append(f"keep_float{names}")
    return ", ".join(options)


def _recovery_view(candidate: CandidateReport, salt: str) -> RecoveryView | None:
    outcome, options = candidate.outcome, options_of(candidate)
    if not isinstance(outcome, Converted) or not options:
        return None
    # Without an estimator, the ranges are the observed ones, so no section is needed.
    ranges = outcome.ranges if any(fact.clipped for fact in outcome.ranges) else ()
    return RecoveryView(
        name=candidate.name,
        options=options,
        ranges=ranges[:MOST_RANGES],
        more_ranges=max(0, len(ranges) - MOST_RANGES),
        sensitivity=outcome.sensitivity,
        search=outcome.search,
        range_picture=clipped_range(ranges[0], f"{salt}r") if ranges else None,
        layer_picture=sensitivity(outcome.sensitivity, f"{salt}s"),
    )


def sensitivity(layers: Sequence[LayerSensitivity], salt: str) -> str | None:
    """Draw the output error that each layer adds, on a logarithmic scale; None if no layer adds an error."""
    drawn = [layer for layer in layers if layer.error > 0][:_MOST_BARS]
    if not drawn:
        return None
    with chart(0.27 * len(drawn) + 1.1) as axes:
        places = range(len(drawn), 0, -1)
        colors = [SPLIT if layer.kept_float else PASSED for layer in drawn]
        axes.barh(
            places,
            [layer.error for layer in drawn],
            height=0.62,
            edgecolor=colors,
            # Also use hatching, because not everyone can distinguish the colors.
            facecolor=["none" if layer.kept_float else PASSED for layer in drawn],
            hatch=["////" if layer.kept_float else "" for layer in drawn],
        )
        axes.set_xscale("log")
        axes.set_xlim(left=min(layer.error for layer in drawn) / 3)
        axes.set_yticks(list(places), [plain(shorten(layer.layer, 26)) for layer in drawn])
        axes.set_ylim(0.3, len(drawn) + 0.7)
        axes.set_xlabel("relative error (log)")
        return svg(axes.figure, salt)


def clipped_range(fact: ActivationRange, salt: str) -> str | None:
    """Draw the values of one tensor with the chosen range; None if all values are the same."""
    low, high = fact.histogram_bounds
    if not (fact.histogram and high > low):
        return None
    with chart(2.6) as axes:
        draw_density(axes, (low, high), fact.histogram, OTHER)
        for bound in fact.chosen:
            axes.axvline(bound, color=SPLIT, linewidth=1.6, linestyle="--")
        axes.axvspan(*fact.chosen, color=SPLIT, alpha=0.12, linewidth=0)
        axes.set_xlabel("values")
        return svg(axes.figure, salt)
