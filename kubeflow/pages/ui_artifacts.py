"""Artifact types that the pages of Kubeflow Pipelines show: HTML, Markdown, and metrics."""

from tfx.types.artifact import Artifact


class HTML(Artifact):
    """A file that the pages show as HTML."""

    TYPE_NAME = "system.HTML"


class Markdown(Artifact):
    """A file that the pages show as formatted text."""

    TYPE_NAME = "system.Markdown"


class Metrics(Artifact):
    """Metrics, as custom properties. There is no file."""

    TYPE_NAME = "system.Metrics"
