"""Apache Beam: the runner of pipelines that name none."""

from __future__ import annotations

# The runner that Beam 2.61 uses by default, without a name for it.
_IN_PROCESS = "FnApiRunner"


def keep_beam_in_process() -> None:
    """Let Beam pipelines that name no runner run in this process, on Beam's own Python runner.

    By default, Beam 2.77 downloads a runner written in another language (Prism) from the internet, and falls back to
    the Python runner only if that fails.
    """
    from apache_beam.options.pipeline_options import StandardOptions

    if any(path.endswith(f".{_IN_PROCESS}") for path in StandardOptions.ALL_KNOWN_RUNNERS):
        StandardOptions.DEFAULT_RUNNER = _IN_PROCESS
