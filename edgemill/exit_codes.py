"""Exit statuses of the command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of every `edgemill` command."""

    OK = 0
    """Success. After `run`, every device has the best passing candidate in its registry."""
    NODE_FAILED = 1
    """A node failed, a metadata store, an object store, or a cluster could not be reached, or a registry could not be
    read."""
    BAD_INPUT = 2
    """The pipeline file, the data, the model, or the command line is wrong, or the registry or the root cannot be
    written. The error is found before the first node, so that nothing ran."""
    GATE_REFUSED = 3
    """The run is complete, but the gate of at least one device refused every candidate."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM, as systemd and container runtimes send it."""
