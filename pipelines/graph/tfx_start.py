"""Imports only the parts of TFX that are used."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def defer_tfx_components() -> None:
    """Defer the `__init__` of `tfx.components` until a name of the package itself is used.

    That module imports every component, including Keras Tuner and the bulk inferrer, which takes 3 of the 15 CPU
    seconds of a run's start. Edgemill imports submodules, which need only the package's path.
    `from tfx.components import X` still works.
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
