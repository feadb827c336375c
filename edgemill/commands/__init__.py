"""Implements each command. The package `kubeflow` coexists with others of that name, such as Kubeflow's own SDK."""

from __future__ import annotations

import importlib
from pathlib import Path

_OURS = str(Path(__file__).resolve().parents[2] / "kubeflow")


def share_name() -> None:
    """Make `import kubeflow.x` find Edgemill's modules even if another package has the name.

    Edgemill's package has no `__init__.py`, so it never hides the other one. A package with an `__init__.py` hides
    Edgemill's, regardless of the order on the path.
    """
    package = importlib.import_module("kubeflow")
    if _OURS not in list(package.__path__):
        package.__path__.append(_OURS)
