"""Builds a TFX pipeline from a pipeline file. Each call creates new nodes: a node belongs to one Pipeline only."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import BaseChannel

from components.baseline.component import PretrainedModel, baseline_trainer
from components.calibrate.component import CalibrationAudit, CalibrationSampler
from components.convert.component import TFLiteConverter
from components.core.files import sha256_of
from components.core.version import code_version
from components.device_check.component import device_check
from components.evaluate.component import evaluator
from components.gate.component import gate
from components.push.component import Pusher
from components.push.registry import backend_module
from components.spec.baseline import TrainedBaseline
from components.spec.calibrate import CalibrationSpec
from components.spec.devices.device import DeviceProfile
from components.spec.recipe import Recipe
from pipelines.file.accuracy_bound import accuracy_bound
from pipelines.file.environment import Environment
from pipelines.file.load import LoadedPipeline
from pipelines.file.spec import FLOAT_REFERENCE, PipelineSpec
from pipelines.graph.ingest import Ingested, ingest
from pipelines.graph.sources import source_digests
from pipelines.graph.steps import BASELINE_NODE, chain, step_nodes
from pipelines.runs.metadata_connection import connection_config


def build_pipeline(
    loaded: LoadedPipeline,
    environment: Environment,
    attempt: str,
    retry: Callable[[str], str] = lambda _: "",
    digests: str | None = None,
) -> Pipeline:
    """Build the TFX pipeline of a pipeline file.

    Args:
        loaded: A pipeline that passed its checks.
        environment: Where it runs.
        attempt, retry: As for `pipeline_nodes`.
        digests: Identities of the examples (`pipelines.graph.sources`). If None, they are computed.

    Raises:
        DataError: An example file can't be read.
    """
    if digests is None:
        digests = source_digests(loaded.spec, environment)
    return Pipeline(
        pipeline_name=loaded.spec.name,
        pipeline_root=environment.artifact_root(loaded.spec.name),
        components=pipeline_nodes(loaded, attempt, retry, digests),
        enable_cache=True,
        metadata_connection_config=connection_config(environment.metadata_url),
        beam_pipeline_args=list(environment.beam_args),
    )


def pipeline_nodes(
    loaded: LoadedPipeline, attempt: str, retry: Callable[[str], str] = lambda _: "", digests: str | None = None
) -> list[BaseNode]:
    """Connect the components of a pipeline file.

    Node IDs look like `convert__int8` and `gate__phone_cpu`.

    Args:
        loaded: A pipeline that passed its checks.
        attempt: A token of this run: a parameter of nodes whose outputs must never come from the cache.
        retry: Node ID -> a token that changes when the node's last outcome is worth another attempt.
        digests: As for `pipelines.graph.ingest.ingest`.
    """
    spec = loaded.spec
    data = ingest(spec, digests)
    nodes: list[BaseNode] = [*data.nodes]
    baseline = _after(data.validated, _baseline(spec, data)).with_id(BASELINE_NODE)
    nodes.append(baseline)
    sample: BaseChannel | None = None
    ready: BaseNode = baseline
    if spec.calibrate is not None and any(recipe.needs_calibration for recipe in spec.recipes):
        sampler = _after(data.validated, _sampler(spec, spec.calibrate, data)).with_id("calibrate")
        sample = sampler.outputs["sample"]
        ready = CalibrationAudit(sample=sample, code_version=code_version("components.calibrate.component"))
        nodes += [sampler, ready.with_id("audit")]
    made = _trainers(spec, data, baseline)
    converters = {
        recipe.name: _after(
            ready, _converter(spec, recipe, _converted_model(recipe, made), sample, data.transform_graph, retry)
        )
        for recipe in _with_reference(spec.recipes)
    }
    nodes.extend(node for name, node in made.items() if name != BASELINE_NODE)
    nodes.extend(converters.values())
    reference = next(recipe.name for recipe in _with_reference(spec.recipes) if recipe.scheme.is_float)
    candidates = {recipe.name: converters[recipe.name].outputs["candidate"] for recipe in spec.recipes}
    evaluation = evaluator(
        examples=data.examples,
        baseline=baseline.outputs["model"],
        float_reference=converters[reference].outputs["candidate"],
        candidates=candidates,
        transform_graph=data.transform_graph,
        spec=spec.evaluate.model_copy(update={"slices": spec.slices()}).model_dump_json(),
        task=spec.task,
        label=spec.examples.label,
        # No retry for a ratio that no device bounds.
        retry=retry("evaluate") if any(device.max_latency_ratio is not None for device in loaded.devices) else "",
        **_versions(spec, "components.evaluate.component"),
    ).with_id("evaluate")
    nodes.append(evaluation)
    for device in loaded.devices:
        on_device = None
        if device.evaluators:
            checked = _device_check(spec, device, data, candidates, retry)
            on_device = checked.outputs["facts"]
            nodes.append(checked)
        nodes.extend(_deliver(spec, device, evaluation.outputs["evaluation"], on_device, candidates, attempt))
    return nodes


def _trainers(spec: PipelineSpec, data: Ingested, baseline: BaseNode) -> dict[str, BaseNode]:
    """Map node IDs to the nodes of the baseline and of all training steps."""
    made = {BASELINE_NODE: baseline}
    for name, node in step_nodes(spec.recipes).items():
        module, _, component = node.step.shell.partition(":")
        modules = sorted({reference.partition(":")[0] for reference in (spec.task, *node.step.references())})
        parent = made[node.parent]
        made[name] = getattr(importlib.import_module(module), component)(
            examples=data.examples,
            model=parent.outputs["model" if node.parent == BASELINE_NODE else "trained"],
            **_optional(transform_graph=data.transform_graph),
            spec=json.dumps({"node": name, **node.asked, "split": spec.training_split(node.step)}),
            task=spec.task,
            label=spec.examples.label,
            task_version=" ".join(map(code_version, modules)),
            code_version=code_version(module),
        ).with_id(name)
    return made


def _converted_model(recipe: Recipe, made: dict[str, BaseNode]) -> BaseChannel:
    """Return the model that a recipe converts: that of its last step, or the baseline."""
    nodes = chain(recipe)
    return made[nodes[-1].id].outputs["trained"] if nodes else made[BASELINE_NODE].outputs["model"]


def _baseline(spec: PipelineSpec, data: Ingested) -> BaseNode:
    versions = _versions(spec, "components.baseline.component")
    if isinstance(spec.baseline, TrainedBaseline):
        return baseline_trainer(
            data.examples, data.transform_graph, spec.baseline, task=spec.task, label=spec.examples.label, **versions
        )
    path, trust_code = spec.baseline.path, int(spec.baseline.trust_code)
    return PretrainedModel(path=path, trust_code=trust_code, sha256=sha256_of(Path(path)), task=spec.task, **versions)


def _sampler(spec: PipelineSpec, calibrate: CalibrationSpec, data: Ingested) -> BaseNode:
    return CalibrationSampler(
        examples=data.examples,
        transform_graph=data.transform_graph,
        spec=calibrate.model_dump_json(),
        task=spec.task,
        label=spec.examples.label,
        eval_split=spec.evaluate.split,
        max_overlap=repr(spec.examples.max_overlap),
        **_versions(spec, "components.calibrate.component"),
    )


def _with_reference(recipes: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
    """Return the recipes, with a float32 reference for comparison if none of them uses float32."""
    return recipes if any(r.scheme.is_float for r in recipes) else (FLOAT_REFERENCE, *recipes)


def _converter(
    spec: PipelineSpec,
    recipe: Recipe,
    model: BaseChannel,
    sample: BaseChannel | None,
    graph: BaseChannel | None,
    retry: Callable[[str], str],
) -> BaseNode:
    # Only static schemes read the sample. A changed sample must not cause other conversions to rerun.
    node = f"convert__{recipe.name}"
    calibration = sample if recipe.needs_calibration else None
    return TFLiteConverter(
        model=model,
        **_optional(calibration=calibration, transform_graph=graph if calibration is not None else None),
        spec=json.dumps({"recipe": recipe.model_dump(), "limits": spec.convert.model_dump(), **_bound(spec, recipe)}),
        task=spec.task,
        retry=retry(node),
        **_versions(spec, "components.convert.component"),
    ).with_id(node)


def _bound(spec: PipelineSpec, recipe: Recipe) -> dict[str, Any]:
    # Only recipes that read the gate's bounds get them. A changed bound must not cause other conversions to rerun.
    bound = accuracy_bound(spec, recipe)
    return {"bound": bound.model_dump()} if bound else {}


def _device_check(
    spec: PipelineSpec,
    device: DeviceProfile,
    data: Ingested,
    candidates: dict[str, BaseChannel],
    retry: Callable[[str], str],
) -> BaseNode:
    node = f"device_check__{device.name}"
    asked = {
        "device": device.name,
        "evaluators": [evaluator.model_dump() for evaluator in device.evaluators],
        "split": spec.evaluate.split,
    }
    return device_check(
        examples=data.examples,
        candidates=candidates,
        transform_graph=data.transform_graph,
        spec=json.dumps(asked),
        task=spec.task,
        retry=retry(node),
        **_versions(spec, "components.device_check.component"),
    ).with_id(node)


def _deliver(
    spec: PipelineSpec,
    device: DeviceProfile,
    evaluation: BaseChannel,
    on_device: BaseChannel | None,
    candidates: dict[str, BaseChannel],
    attempt: str,
) -> tuple[BaseNode, BaseNode]:
    ranking = spec.gate.metrics[0].name
    decision = gate(
        evaluation=evaluation,
        candidates=candidates,
        on_device=on_device,
        spec=json.dumps(
            {
                "device": device.model_dump(),
                "policy": spec.gate.model_dump(),
                "less_is_better": next(m.less_is_better for m in spec.evaluate.metrics if m.name == ranking),
            }
        ),
        code_version=code_version("components.gate.component"),
    ).with_id(f"gate__{device.name}")
    push = Pusher(
        chosen=decision.outputs["chosen"],
        blessing=decision.outputs["blessing"],
        spec=json.dumps({"registry": spec.push.model_dump(), "device": device.model_dump(), "name": spec.name}),
        attempt=attempt,
        code_version=" ".join(map(code_version, ("components.push.component", backend_module(spec.push)))),
    ).with_id(f"push__{device.name}")
    return decision, push


def _versions(spec: PipelineSpec, module: str) -> dict[str, str]:
    return {"task_version": code_version(spec.task.partition(":")[0]), "code_version": code_version(module)}


def _optional(**channels: BaseChannel | None) -> dict[str, Any]:
    return {name: channel for name, channel in channels.items() if channel is not None}


def _after(upstream: BaseNode, node: BaseNode) -> BaseNode:
    node.add_upstream_node(upstream)
    return node
