"""Importing TFX for what is used of it."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def defer_tfx_components() -> None:
    """Let `tfx.components` run its `__init__` only when something asks the package itself for a name.

    That module imports every component there is, Keras Tuner and the bulk inferrer among them: 3 of the 15 seconds of
    CPU that a run takes to start. We import submodules, which need the package's path and nothing else of it. Whoever
    says `from tfx.components import X` still gets X.
    """
    name = "tfx.components"
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader, package = spec.loader, importlib.util.module_from_spec(spec)

    def load_on_demand(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = load_on_demand
    sys.modules[name] = package
    vars(sys.modules["tfx"])["components"] = package
