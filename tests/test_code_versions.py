"""What a component's code version depends on: a change elsewhere takes its outputs from cache."""

import pytest

from components.core.version import _closure

# Component -> the packages of `components` that its version depends on; of `spec`, `facts`, and `upstream`, modules.
ALWAYS = {"core"}
MANIFEST = {"facts.artifact_paths", "facts.manifest", "facts.streaming"}
READS = MANIFEST | {"facts.verified"}
KERAS = {"upstream.autograph", "upstream.keras"}
# Object stores and their clients.
STORES = {"object_store", "upstream.botocore", "upstream.google_storage"}
# Components that are one function.
FUNCTION = {"upstream.tfx.dsl"}
SCHEME = {
    "spec.ranges",
    "spec.scheme",
    "spec.schemes.base",
    "spec.schemes.dynamic_range",
    "spec.schemes.floats",
    "spec.schemes.static",
}
TRAINS = (
    READS
    | SCHEME
    | KERAS
    | FUNCTION
    | {"data", "facts.training", "fine_tune", "model"}
    | {"spec.steps.fine_tuning", "spec.steps.layer_patterns", "spec.steps.sparsity"}
)
RECURRENT = {
    "cells",
    "fake_quantize",
    "lowering",
    "ranges",
    "spec.schemes.limits",
    "spec.steps.qat",
    "facts.conversion",
    "upstream.tfmot",
}
TFLITE = {f"upstream.tflite.{name}" for name in ("converter", "interpreter", "objects", "schema")}
RECIPE = SCHEME | {
    "spec.recipe",
    "spec.steps.cluster",
    "spec.steps.fine_tuning",
    "spec.steps.layer_patterns",
    "spec.steps.prune",
    "spec.steps.qat",
    "spec.steps.sparsity",
}
EVALUATED = READS | RECIPE | {"facts.conversion", "facts.evaluation", "facts.outputs", "facts.sample", "facts.slices"}
ON_DEVICE = {"facts.device", "facts.differences", "facts.tools.phone"}
DEVICE = {f"spec.devices.{name}" for name in ("device", "device_tools", "operators", "pinned")}
EVALUATES = KERAS | {
    *("data", "metrics", "model", "predict", "ranges", "spec.evaluate", "spec.metric", "spec.prediction", "tfx"),
    *("upstream.beam", "upstream.tflite.objects", "upstream.tflite.schema"),
}
PUSHES = (
    EVALUATED
    | DEVICE
    | FUNCTION
    | {"card", "facts.decision", "facts.explanation", *ON_DEVICE, *STORES, "spec.card", "spec.registry", "trust"}
)
DEPENDS = {
    "baseline": MANIFEST
    | KERAS
    | FUNCTION
    | {"data", "model", "ranges", "spec.baseline", "upstream.saved_model", "upstream.tfx.executors"}
    | {"upstream.fork_server", "upstream.tflite.objects", "upstream.tflite.schema"},
    "calibrate": READS | FUNCTION | {"data", "facts.audit", "spec.calibrate", "upstream.tfx.executors"},
    "challenge": EVALUATED
    | EVALUATES
    | {"device_check", "evaluate", "facts.champion", *ON_DEVICE, "spec.devices.device_tools"}
    | {"upstream.litert", "upstream.tfx.executors"},
    "champion": PUSHES | {"facts.champion", "push"},
    "cluster": TRAINS | {"spec.steps.cluster", "upstream.tfmot"},
    "convert": TRAINS
    | RECURRENT
    | TFLITE
    | {
        "facts.differences",
        "facts.outputs",
        "metrics",
        "spec.convert",
        "spec.devices.pinned",
        "spec.metric",
        "upstream.fork_server",
    },
    "device_check": EVALUATED | EVALUATES | {"evaluate", *ON_DEVICE, "spec.devices.device_tools", "upstream.litert"},
    # No metrics.
    "device_check.measure": READS
    | RECIPE
    | FUNCTION
    | {"facts.conversion", "facts.evaluation", "facts.outputs", "facts.sample", *ON_DEVICE}
    | {"data", "device_check", "model", "predict", "ranges", "spec.devices.device_tools", "spec.prediction"}
    | {"upstream.beam", "upstream.keras", "upstream.litert", "upstream.tflite.objects", "upstream.tflite.schema"},
    "evaluate": EVALUATED | EVALUATES | {"upstream.tfx.executors"},
    # No metrics.
    "evaluate.latency": READS
    | RECIPE
    | FUNCTION
    | {"facts.conversion", "facts.evaluation", "facts.outputs", "facts.sample"}
    | {"data", "evaluate", "model", "predict", "ranges", "spec.prediction", "upstream.beam", "upstream.keras"}
    | {"upstream.tflite.objects", "upstream.tflite.schema"},
    "changes": FUNCTION
    | {"facts.changes"}
    | READS
    | {"data", "model", "ranges", "spec.prediction", "upstream.beam", "upstream.keras", "predict"}
    | {"upstream.tflite.objects", "upstream.tflite.schema"},
    "explain": TRAINS
    | RECURRENT
    | TFLITE
    | {
        "convert",
        "facts.differences",
        "facts.explanation",
        "facts.node_data",
        "facts.outputs",
        "metrics",
        "spec.convert",
        "spec.devices.pinned",
        "spec.metric",
        "upstream.fork_server",
        "upstream.saved_model",
    },
    "gate": EVALUATED | DEVICE | {"facts.champion", "facts.decision", *ON_DEVICE, "metrics", "spec.gate", "tfx"},
    "ingest": FUNCTION | {"spec.examples"},
    "predict": READS
    | {"data", "model", "ranges", "spec.prediction", "upstream.beam", "upstream.keras", "upstream.tfx.executors"}
    | {"upstream.tflite.objects", "upstream.tflite.schema"},
    "prune": TRAINS | {"spec.steps.prune"},
    "push": PUSHES,
    "quantize": TRAINS | RECURRENT,
    "validate": {"data", "facts.manifest", "facts.streaming", "spec.validate", "upstream.tfx.example_validator"},
}


def parts(names: set[str]) -> set[str]:
    """Modules of `spec`, `facts`, and `upstream`, packages of the rest; packages around modules are left out."""
    found = set()
    for name in names:
        _, *inner = name.split(".")
        if inner and inner[0] in {"spec", "facts", "upstream"}:
            found.add(".".join(inner))
        elif inner:
            found.add(inner[0])
    return found - {
        *("spec", "facts", "facts.tools", "spec.schemes", "spec.steps", "spec.devices"),
        *("upstream", "upstream.tfx", "upstream.tflite"),
    }


@pytest.mark.parametrize("component", DEPENDS)
def test_code_version_depends_on_what_the_component_needs_only(component: str) -> None:
    depends = parts(set(_closure(f"components.{component}.component")))
    assert depends == DEPENDS[component] | ALWAYS | {component.partition(".")[0]}


def test_gate_report_and_command_line_version_no_training_and_no_conversion() -> None:
    for component in ("baseline", "calibrate", "cluster", "convert", "prune", "quantize", "validate"):
        names = _closure(f"components.{component}.component")
        forbidden = (
            "components.gate",
            "components.push",
            "components.facts.decision",
            "pipelines",
            "edgemill",
            "kubeflow",
        )
        assert not [name for name in names if name.startswith(forbidden)], component
