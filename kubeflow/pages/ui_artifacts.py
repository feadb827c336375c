"""Artifact types that the pages of Kubeflow Pipelines show: an HTML document, Markdown, and figures."""

from tfx.types.artifact import Artifact


class HTML(Artifact):
    """A file that is shown as a page."""

    TYPE_NAME = "system.HTML"


class Markdown(Artifact):
    """A file that is shown as text."""

    TYPE_NAME = "system.Markdown"


class Metrics(Artifact):
    """Figures, as custom properties; there is no file."""

    TYPE_NAME = "system.Metrics"
