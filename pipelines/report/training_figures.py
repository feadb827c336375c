"""Charts of a training: its loss, and the trained ranges. Same style as `figures`."""

from __future__ import annotations

from components.core.values import FrozenModel
from components.facts.training import TrainingReport
from pipelines.report.figures import OTHER, PASSED, SPLIT, plain, shorten, style, svg

# More bars would not be distinguishable. The table lists all.
_MOST_RANGES = 24


class TrainingPictures(FrozenModel):
    """SVGs of one training. The ranges are None if a custom scheme doesn't report them."""

    loss: str | None
    ranges: str | None


def training_pictures(training: TrainingReport, salt: str) -> TrainingPictures:
    """Draw one training.

    Args:
        training: The results of a step. Without epochs, there is no loss to draw.
        salt: Makes the identifiers unique in a document.
    """
    loss = _loss(training, f"{salt}-loss") if training.epochs else None
    return TrainingPictures(loss=loss, ranges=_ranges(training, f"{salt}-ranges"))


def _loss(training: TrainingReport, salt: str) -> str:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with style():
        figure = Figure(figsize=(3.8, 2.6), layout="constrained")
        axes = figure.subplots()
        epochs = [fact.epoch for fact in training.epochs]
        for name, label, color in (("loss", "training", PASSED), ("val_loss", "held out", SPLIT)):
            if name in training.epochs[0].figures:
                losses = [fact.figures[name] for fact in training.epochs]
                axes.plot(epochs, losses, color=color, marker="o", markersize=4, label=label)
        axes.axvline(training.best_epoch, color=OTHER, linewidth=0.8, linestyle=":")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
        return svg(figure, salt)


def _ranges(training: TrainingReport, salt: str) -> str | None:
    ranges = training.ranges[:_MOST_RANGES]
    if not ranges:
        return None
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(3.8, max(2.0, 0.22 * len(ranges) + 0.9)), layout="constrained")
        axes = figure.subplots()
        for row, one in enumerate(reversed(ranges)):
            if one.seen is not None:
                axes.plot(one.seen, [row, row], color=SPLIT, linewidth=1, marker="|", markersize=6)
            axes.plot([one.low, one.high], [row, row], color=PASSED, linewidth=4, solid_capstyle="butt")
        axes.set_yticks(range(len(ranges)), [plain(shorten(one.tensor)) for one in reversed(ranges)])
        widest = max(one.high - one.low for one in ranges)
        if widest > 50 * min(one.high - one.low for one in ranges):
            axes.set_xscale("symlog", linthresh=widest / 100)
        axes.set_xlabel("values")
        return svg(figure, salt)
