"""What the command's exit status says to whatever started it."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every `edgemill` command."""

    OK = 0
    """Done; for `run`: every device has the best passing candidate in its registry."""
    NODE_FAILED = 1
    """A node failed, or a metadata store, an object store or a cluster could not be reached, or a registry not be
    read."""
    BAD_INPUT = 2
    """The pipeline file, the data, the model or the command line is wrong, or the registry or the root cannot be
    written: what is found before the first node; nothing ran."""
    GATE_REFUSED = 3
    """The run is whole, but the gate of at least one device refused every candidate."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM, as systemd and container runtimes send it."""
