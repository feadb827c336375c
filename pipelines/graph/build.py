"""Builds a TFX pipeline from a pipeline file. Each call creates new nodes, because a node has only one Pipeline."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
from components.evaluate.component import Evaluator
from components.gate.component import Gate
from components.spec.baseline import TrainedBaseline
from components.spec.calibrate import CalibrationSpec
from components.spec.devices.device import DeviceProfile
from components.spec.evaluate import EvaluationSpec
from components.spec.recipe import Recipe
from components.tfx.candidate_inputs import LATENCY, candidate_node
from pipelines.file.device_checks import pins_of
from pipelines.file.environment import Environment
from pipelines.file.load import LoadedPipeline
from pipelines.file.spec import FLOAT_REFERENCE, PipelineSpec, accuracy_bound
from pipelines.graph.explain import CHANGE_FINDER, EXPLAINER, change_finders, explainers
from pipelines.graph.ingest import Ingested, ingest
from pipelines.graph.measure import DEVICE_CHECK, MEASUREMENT, device_check, measurements
from pipelines.graph.predict import PREDICTOR, TIMER, predicted, timed
from pipelines.graph.releases import CHALLENGER, Champions, Seen, named_by_registries, push_node
from pipelines.graph.sources import reads_digest, source_digests
from pipelines.graph.steps import BASELINE_NODE, candidate_id, chain, step_nodes
from pipelines.storage.metadata_connection import connection_config


def build_pipeline(
    loaded: LoadedPipeline,
    environment: Environment,
    attempt: str,
    retry: Callable[[str], str] = lambda _: "",
    digests: str | None = None,
    task_files: str = "",
) -> Pipeline:
    """Build the TFX pipeline of a pipeline file that passed its checks. Other arguments are as for `pipeline_nodes`.

    Raises:
        DataError: An example file can't be read.
    """
    if digests is None:
        digests = source_digests(loaded.spec, environment)
    return Pipeline(
        pipeline_name=loaded.spec.name,
        pipeline_root=environment.artifact_root(loaded.spec.name),
        components=pipeline_nodes(
            loaded, attempt, retry, digests, task_files, functools.partial(named_by_registries, loaded.spec)
        ),
        enable_cache=True,
        metadata_connection_config=connection_config(environment.metadata_url),
        beam_pipeline_args=list(environment.beam_args),
    )


def pipeline_nodes(
    loaded: LoadedPipeline,
    attempt: str,
    retry: Callable[[str], str] = lambda _: "",
    digests: str | None = None,
    task_files: str = "",
    seen: Seen = lambda _: None,
) -> list[BaseNode]:
    """Connect the components of a pipeline file that passed its checks.

    Node IDs look like `convert__4f1d0c22ab` (`pipelines.graph.steps`) and `gate__phone_cpu`.

    Args:
        loaded: The pipeline.
        attempt: A token of this run: a parameter of nodes whose outputs must never come from the cache.
        retry: Node ID -> a token that changes if the node's last outcome justifies another attempt.
        digests: As for `pipelines.graph.ingest.ingest`.
        task_files: Digest of the files that the task reads, as part of its version; empty if there are none.
        seen: The releases that a device's registries currently name. By default, the cache isn't used for champions.
    """
    spec, data = loaded.spec, ingest(loaded.spec, digests)
    return _Graph(spec, data, loaded.devices, retry, task_files).nodes(attempt, seen)


@dataclass(frozen=True)
class _Graph:
    spec: PipelineSpec
    data: Ingested
    devices: tuple[DeviceProfile, ...]
    retry: Callable[[str], str]
    task_files: str

    def nodes(self, attempt: str, seen: Seen) -> list[BaseNode]:
        spec, data = self.spec, self.data
        baseline = _after(data.validated, self._baseline()).with_id(BASELINE_NODE)
        nodes: list[BaseNode] = [*data.nodes, baseline]
        sample: BaseChannel | None = None
        ready: BaseNode = baseline
        if spec.calibrate is not None and any(recipe.needs_calibration for recipe in spec.recipes):
            sampler = _after(data.validated, self._sampler(spec.calibrate)).with_id("calibrate")
            sample = sampler.outputs["sample"]
            ready = CalibrationAudit(sample=sample, code_version=code_version("components.calibrate.component"))
            nodes += [sampler, ready.with_id("audit")]
        made = self._trainers(baseline)
        # Includes a float32 reference for comparison if no recipe uses float32.
        recipes = spec.recipes if any(one.scheme.is_float for one in spec.recipes) else (FLOAT_REFERENCE, *spec.recipes)
        # Recipes that differ only in their names share a conversion and its predictions.
        asked = {candidate_id("convert", one): one for one in recipes}
        converters = {node: _after(ready, self._converter(node, one, made, sample)) for node, one in asked.items()}
        nodes += [*(node for name, node in made.items() if name != BASELINE_NODE), *converters.values()]
        reference = converters[candidate_id("convert", next(one for one in recipes if one.scheme.is_float))]
        candidates = {one.name: converters[candidate_id("convert", one)].outputs["candidate"] for one in spec.recipes}
        # A ratio that no device bounds isn't measured again.
        bounded = any(device.max_latency_ratio is not None for device in self.devices)
        measures = self._evaluation()
        task = self._task(PREDICTOR)
        stored = predicted(spec.recipes, candidates, baseline.outputs["model"], spec, data, task)
        timers, times = timed(
            spec.recipes, candidates, reference.outputs["candidate"], spec, data,
            retry=self.retry if bounded else None, task=self._task(TIMER),
        )  # fmt: skip
        evaluation = candidate_node(
            Evaluator,
            candidates,
            stored.of_recipes,
            {LATENCY: times},
            predictions=stored.of_baseline,
            examples=data.examples,
            baseline=baseline.outputs["model"],
            float_reference=reference.outputs["candidate"],
            transform_graph=data.transform_graph,
            spec=measures.model_dump_json(),
            label=spec.examples.label,
            **self._measuring("components.evaluate.component"),
        ).with_id("evaluate")
        nodes += [*stored.nodes, *timers, evaluation]
        explained = explainers(
            recipes, {one.name: converters[candidate_id("convert", one)].outputs["candidate"] for one in recipes}, spec,
            data, sample, model_of=lambda step: _model_of(made[step]), retry=self.retry, task=self._task(EXPLAINER),
        )  # fmt: skip
        task = self._task(CHANGE_FINDER)
        changed = change_finders(stored.of_recipes, stored.of_baseline, spec, data, task)
        nodes += [*(_after(ready, node) for node in explained), *changed]
        champions = Champions(
            spec, data, measures, attempt, seen, self.retry, self._task(PREDICTOR), self._measuring(CHALLENGER)
        )
        for device in self.devices:
            on_device, challenge = None, None
            measured: dict[str, BaseNode] = {}
            tools = self._task(MEASUREMENT)
            if device.evaluators:
                measured = measurements(
                    device, candidates, stored.of_baseline, spec, data, retry=self.retry, task=tools
                )
                checked = device_check(
                    device, candidates, measured, baseline.outputs["model"], stored.of_baseline, spec, data, measures,
                    self._measuring(DEVICE_CHECK),
                )  # fmt: skip
                on_device = checked.outputs["facts"]
                nodes += [*measured.values(), checked]
            if spec.gate.champion != "none":
                challengers = champions.nodes(device, baseline.outputs["model"], stored, measured, tools)
                challenge = challengers[-1].outputs["challenge"]
                nodes += challengers
            decision = self._gate(device, evaluation.outputs["evaluation"], on_device, challenge, candidates)
            nodes += [decision, push_node(spec, device, decision, attempt)]
        return nodes

    def _task(self, module: str) -> dict[str, str]:
        """Return the parameters of components that call the task."""
        task = self.spec.task
        return {"task": task, "task_version": self._version([task]), "code_version": code_version(module)}

    def _evaluation(self) -> EvaluationSpec:
        return self.spec.evaluate.model_copy(update={"slices": self.spec.slices()})

    def _measuring(self, module: str) -> dict[str, str]:
        """Return the parameters of components that call the task and the functions of metrics."""
        functions = [reference for metric in self.spec.evaluate.metrics for reference in metric.references]
        return self._task(module) | {"task_version": self._version([self.spec.task, *functions])}

    def _version(self, references: Iterable[str]) -> str:
        modules = sorted({reference.partition(":")[0] for reference in references})
        return " ".join([*map(code_version, modules), *filter(None, [self.task_files, reads_digest(self.spec.reads)])])

    def _baseline(self) -> BaseNode:
        asked, task = self.spec.baseline, self._task("components.baseline.component")
        if isinstance(asked, TrainedBaseline):
            data = self.data
            return baseline_trainer(data.examples, data.transform_graph, asked, label=self.spec.examples.label, **task)
        sha256 = sha256_of(Path(asked.path))
        settings = asked.model_dump_json(exclude={"path"})
        return PretrainedModel(path=asked.path, spec=settings, sha256=sha256, **task)

    def _sampler(self, calibrate: CalibrationSpec) -> BaseNode:
        return CalibrationSampler(
            examples=self.data.examples,
            transform_graph=self.data.transform_graph,
            spec=calibrate.model_dump_json(),
            label=self.spec.examples.label,
            eval_split=self.spec.evaluate.split,
            max_overlap=repr(self.spec.examples.max_overlap),
            **self._task("components.calibrate.component"),
        )

    def _trainers(self, baseline: BaseNode) -> dict[str, BaseNode]:
        """Map node IDs to the nodes of the baseline and of all training steps."""
        spec = self.spec
        made = {BASELINE_NODE: baseline}
        for name, node in step_nodes(spec.recipes).items():
            module, _, component = node.step.shell.partition(":")
            made[name] = getattr(importlib.import_module(module), component)(
                examples=self.data.examples,
                model=_model_of(made[node.parent]),
                **_optional(transform_graph=self.data.transform_graph),
                spec=json.dumps({"node": name, **node.asked, "split": spec.training_split(node.step)}),
                label=spec.examples.label,
                **(self._task(module) | {"task_version": self._version([spec.task, *node.step.references()])}),
            ).with_id(name)
        return made

    def _converter(self, node: str, recipe: Recipe, made: dict[str, BaseNode], sample: BaseChannel | None) -> BaseNode:
        steps = chain(recipe)
        # Only static schemes read the sample, and only some recipes read the gate's bounds. When these change, other
        # conversions must not rerun.
        pins = pins_of(recipe, self.devices)
        calibration = sample if recipe.needs_calibration or pins else None
        graph = self.data.transform_graph if calibration is not None else None
        # The cache must serve a renamed recipe, so the snapshot has the node's digest instead of the recipe's name.
        snapshot = {**recipe.model_dump(), "name": node.partition("__")[2]}
        asked = {"recipe": snapshot, "limits": self.spec.convert.model_dump()}
        if bound := accuracy_bound(self.spec, recipe):
            asked["bound"] = bound.model_dump()
        if pins:
            asked["pins"] = pins.model_dump()
        return TFLiteConverter(
            model=_model_of(made[steps[-1].id if steps else BASELINE_NODE]),
            **_optional(calibration=calibration, transform_graph=graph),
            spec=json.dumps(asked),
            retry=self.retry(node),
            **self._task("components.convert.component"),
        ).with_id(node)

    def _gate(
        self,
        device: DeviceProfile,
        evaluation: BaseChannel,
        on_device: BaseChannel | None,
        challenge: BaseChannel | None,
        candidates: dict[str, BaseChannel],
    ) -> BaseNode:
        policy, metrics = self.spec.gate, self.spec.evaluate.metrics
        known = {one.name: one.less_is_better for one in metrics}
        asked: dict[str, Any] = {"device": device.model_dump(), "policy": policy.model_dump()}
        asked["less_is_better"] = known[policy.metrics[0].name]
        if challenge is not None:
            asked["directions"] = {name: less for name, less in known.items() if less is not None}
        return candidate_node(
            Gate,
            candidates,
            evaluation=evaluation,
            on_device=on_device,
            challenge=challenge,
            spec=json.dumps(asked),
            code_version=code_version("components.gate.component"),
        ).with_id(f"gate__{device.name}")


def _model_of(node: BaseNode) -> BaseChannel:
    return node.outputs["model" if node.id == BASELINE_NODE else "trained"]


def _optional(**channels: BaseChannel | None) -> dict[str, Any]:
    return {name: channel for name, channel in channels.items() if channel is not None}


def _after(upstream: BaseNode, node: BaseNode) -> BaseNode:
    node.add_upstream_node(upstream)
    return node
