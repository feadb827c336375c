"""TensorFlow's generated reader of the TFLite format, without its package, which takes seconds to import."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
from types import ModuleType

from components.core.errors import ModelError
from components.core.version import find_source

_MODULE = "tensorflow.lite.python.schema_py_generated"


@functools.cache
def load_schema() -> ModuleType:
    """The module with the classes of the format, such as `Model`, `BuiltinOperator`, and `TensorType`.

    Raises:
        ModelError: TensorFlow is not installed, or doesn't have this file.
    """
    path = find_source(_MODULE)
    if path is None:
        raise ModelError(
            "TensorFlow's reader of TFLite files is not installed", bound=_MODULE, remedy="run `make setup`"
        )
    loader = importlib.machinery.SourceFileLoader("edgemill_tflite_schema", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
