"""The console that commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

# Wider than any line of ours, so that nothing is cut or wrapped in a file or a pipe.
_UNBOUNDED = 2000


def terminal() -> Console:
    """Standard output: as wide as the terminal, or practically unbounded in a file or a pipe."""
    return Console(markup=False, width=None if sys.stdout.isatty() else _UNBOUNDED)
