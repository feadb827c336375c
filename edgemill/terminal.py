"""Where the commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

# Wider than any line of ours: into a file or a pipe nothing is cut or wrapped.
_UNBOUNDED = 2000


def terminal() -> Console:
    """Standard output, as wide as the terminal; without a bound where it is none."""
    return Console(markup=False, width=None if sys.stdout.isatty() else _UNBOUNDED)
