"""Shows the last line of a terminal during long work: the current activity, the progress, and the remaining time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from pipelines.history.durations import remaining_seconds
from pipelines.report.wording import duration

if TYPE_CHECKING:
    from typing_extensions import Self  # `typing` has it since Python 3.11.

# With less progress than this, an estimate changes too fast to be useful.
_ROUNDED_S = 5.0
# Interval of lines about work of unknown length, for logs.
_BETWEEN_LINES_S = 10.0


class _Line(ABC):
    """A line of progress that is removed afterward. Shows nothing if output is not a terminal."""

    def __init__(self, console: Console, doing: str) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20), _Left(self))
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(doing, total=None)

    def __enter__(self) -> Self:
        """Show the line."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the line."""
        self._bar.stop()

    @abstractmethod
    def left(self) -> str:
        """Describe how much is done, and approximately how much time remains."""


class RunProgress(_Line):
    """The progress of one run. Shows nothing if output is not a terminal, where the lines of the nodes are enough."""

    def __init__(self, console: Console, usual: Mapping[str, float], doing: str) -> None:
        self._usual = usual
        self._nodes: Sequence[str] = ()
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._labels: dict[str, str] = {}
        super().__init__(console, doing)

    def update(self, doing: str) -> None:
        """Set the current activity."""
        self._bar.update(self._task, description=doing)

    def watch(self, done: int, total: int, what: str) -> None:
        """Set the activity before the nodes, and how much of it is done."""
        self.update(f"{what} ({done:,} of {total:,})")

    def planned(self, nodes: Sequence[str]) -> None:
        """Set the nodes of the run. The bar shows their number from now on."""
        self._nodes = nodes
        self._bar.update(self._task, total=len(nodes))

    def started(self, node: str, label: str = "") -> None:
        """Record that a node runs, which is displayed as `label`."""
        self._began[node] = time.monotonic()
        self._labels[node] = label or node
        self.update(f"{self._labels[node]} is running")

    def ended(self, node: str, seconds: float) -> None:
        """Record that a node has ended. The line then names the one that still runs, if there is one."""
        running = self._began.pop(node, None) is not None
        self._ended[node] = seconds
        if self._began:
            self.update(f"{self._labels[next(reversed(self._began))]} is running")
        elif running:
            self.update(f"{self._labels[node]} has ended")
        self._bar.update(self._task, completed=len(self._ended))

    def left(self) -> str:
        """Describe how many nodes have finished, and the approximate time left; empty until the nodes are known."""
        if not self._nodes:
            return ""
        now = time.monotonic()
        running = {node: now - began for node, began in self._began.items()}
        seconds = remaining_seconds(self._nodes, self._usual, self._ended, running)
        counted = f"{len(self._ended)} of {len(self._nodes)} nodes"
        return counted if seconds is None or len(self._ended) == len(self._nodes) else f"{counted}, {_about(seconds)}"


def _about(seconds: float) -> str:
    if seconds < _ROUNDED_S:
        return f"less than {_ROUNDED_S:.0f} s left"
    return f"about {duration(round(seconds / _ROUNDED_S) * _ROUNDED_S).replace('.0 s', ' s')} left"


class WorkProgress(_Line):
    """The progress of other work, all of whose steps take about the same time. It is a `components.core.values.Watch`.

    If output is not a terminal, it prints a line from time to time instead, and nothing for short work.
    """

    def __init__(self, console: Console, doing: str, between_s: float = _BETWEEN_LINES_S) -> None:
        self._console, self._between = console, between_s
        self._done = self._total = 0
        self._began = self._printed = time.monotonic()
        super().__init__(console, doing)

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show the progress."""
        now = time.monotonic()
        if total != self._total or done < self._done:
            self._began = now
        self._done, self._total = done, total
        self._bar.update(self._task, description=what, completed=done, total=total)
        if not self._console.is_terminal and now - self._printed >= self._between:
            self._printed = now
            self._console.print(Text(f"{what}: {self.left()}"), soft_wrap=True)

    def left(self) -> str:
        """Describe how many steps are done, and the approximate remaining time; empty before their number is known."""
        if not self._total:
            return ""
        counted = f"{self._done:,} of {self._total:,}"
        if not 0 < self._done < self._total:
            return counted
        seconds = (time.monotonic() - self._began) / self._done * (self._total - self._done)
        return f"{counted}, {_about(seconds)}"


class _Left(ProgressColumn):
    """A column with the text of `left`, computed when it is drawn."""

    def __init__(self, progress: _Line) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:  # noqa: ARG002
        """See the base class."""
        return Text(self._progress.left())
