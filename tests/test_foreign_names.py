"""Private and experimental names of foreign libraries are used in `components/upstream` only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = ("components", "pipelines", "kubeflow", "edgemill")
OURS = re.compile(rf"({'|'.join(ROOMS)})(\.|$)")
UPSTREAM = Path("components/upstream")
MODULES = [path for room in ROOMS for path in sorted(Path(room).rglob("*.py")) if UPSTREAM not in path.parents]

# Public in spite of the underscore: documented in Python's library reference.
DOCUMENTED = {
    "_exit",  # os
    "_current_frames",  # sys
    "_replace",  # named tuples
}
# Modules that are not part of their library's public interface.
PRIVATE_MODULES = re.compile(
    r"tensorflow\..+"
    r"|tensorflow_model_optimization\.python(\..+)?"
    r"|tf_keras\.src(\..+)?"
    r"|tfx\.orchestration\.(portable|kubeflow)(\..+)?"
    r"|multiprocessing\.forkserver"
    r"|.*(\.|^)experimental(\.|$).*"
    r"|.*(\.|^)_[a-z].*"
)


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def own_names(tree: ast.AST) -> set[str]:
    """Private names that a module defines: functions, variables, fields, and attributes of `self` that it assigns."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names


def foreign_names(source: str) -> Iterator[str]:
    """Uses of foreign private or experimental names, as `line: name`."""
    tree = ast.parse(source)
    own = own_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if private(name) and name not in own:
                yield f"{node.lineno}: .{name}"
            case ast.Attribute(attr=name) if name.lower().startswith("experimental"):
                yield f"{node.lineno}: .{name}"
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                if private(name) or name.startswith("experimental"):
                    yield f"{node.lineno}: {name!r}"
            case ast.keyword(arg=str(name)) if name.startswith("experimental") or private(name):
                yield f"{node.value.lineno}: {name}="
            case ast.Import(names=aliases):
                yield from (f"{node.lineno}: import {a.name}" for a in aliases if PRIVATE_MODULES.fullmatch(a.name))
            case ast.ImportFrom(module=str(module), level=0) if not OURS.match(module) and module != "__future__":
                names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
                if any(PRIVATE_MODULES.fullmatch(name) for name in names):
                    yield f"{node.lineno}: from {module} import ..."


def test_no_module_outside_upstream_uses_a_foreign_private_name() -> None:
    offenders = [f"{path}:{use}" for path in MODULES for use in foreign_names(path.read_text())]
    assert not offenders, "\n".join(["put these behind a module of components/upstream:", *offenders])


@pytest.mark.parametrize(
    "source",
    [
        "model._nodes_by_depth",
        "converter._experimental_low_bit_qat = True",
        "converter.experimental_new_quantizer = True",
        "super()._Validate(inputs)",
        "self._inherited()",
        "getattr(layer, '_is_graph_network', False)",
        "Interpreter(experimental_preserve_all_tensors=True)",
        "tf.autograph.experimental.do_not_convert",
        "OpsSet.EXPERIMENTAL_INT16",
        "import tensorflow.python.ops",
        "from tensorflow.lite.python import schema_py_generated",
        "from tensorflow_model_optimization.python.core.keras import utils",
        "from tfx.dsl.component.experimental.decorators import component",
        "from tfx.orchestration.portable import launcher",
        "from multiprocessing import forkserver",
        "from library import _hidden",
    ],
)
def test_foreign_private_name_is_found(source: str) -> None:
    assert list(foreign_names(source))


@pytest.mark.parametrize(
    "source",
    [
        "self._held = other._held",
        "class A:\n    def _made(self): ...\nA()._made()",
        "os._exit(0)",
        "pair._replace(first=1)",
        "module.__name__",
        "getattr(function, '__name__', None)",
        "from __future__ import annotations",
        "from components.model.tflite_file import _fact",
        "import tensorflow as tf",
        "from tfx.types import standard_artifacts",
    ],
)
def test_own_and_public_names_are_not(source: str) -> None:
    assert not list(foreign_names(source))
