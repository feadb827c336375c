"""Our package `kubeflow` beside another that is called so: the SDK of the Kubeflow project is."""

from __future__ import annotations

import importlib
from pathlib import Path

_OURS = str(Path(__file__).resolve().parents[1] / "kubeflow")


def share_name() -> None:
    """Let `import kubeflow.x` find our modules too where another package has taken the name.

    Ours has no `__init__.py`, so that it never hides that one; a package that has one hides ours, whatever the order.
    """
    package = importlib.import_module("kubeflow")
    if _OURS not in list(package.__path__):
        package.__path__.append(_OURS)
