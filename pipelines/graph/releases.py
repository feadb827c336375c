"""The nodes that read and write the registries of a device: its champion, the comparison with it, and the push."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from components.challenge.component import Challenger, ChallengeRequest
from components.champion.component import ChampionFinder, ChampionRequest
from components.core.version import code_version
from components.predict.component import Predictor
from components.push.champion import named_now
from components.push.component import Pusher
from components.push.registry import backend_module
from components.spec.devices.device import DeviceProfile
from components.spec.evaluate import EvaluationSpec
from components.spec.registry import AnyRegistry, by_field
from components.tfx.candidate_inputs import MEASURED, candidate_node
from pipelines.file.spec import PipelineSpec
from pipelines.graph.ingest import Ingested
from pipelines.graph.measure import champion_measurement
from pipelines.graph.predict import Predicted, prediction_spec

CHALLENGER = "components.challenge.component"
# Returns the releases that a device's registries name, as in `components.push.champion.named_now`; None if unknown.
Seen = Callable[[DeviceProfile], str | None]


def registries_of(spec: PipelineSpec) -> tuple[AnyRegistry, ...]:
    """The registries of a pipeline file, in its order."""
    return tuple(by_field(spec.push).values())


def named_by_registries(spec: PipelineSpec, device: DeviceProfile) -> str | None:
    """The releases that a device's registries currently name, as in `components.push.champion.named_now`."""
    return named_now(registries_of(spec), device.device_class, spec.name)


@dataclass(frozen=True)
class Champions:
    """Creates the nodes of champions.

    Attributes:
        spec, data: The pipeline file, and its examples.
        evaluation: Metrics and slices, as for the candidates.
        attempt: Token of this run.
        seen: Returns the releases that a device's registries name when the run begins.
        retry: As for `pipelines.graph.build.pipeline_nodes`.
        predicting, measuring: Parameters of components that call the task, and of components that also call metrics.
    """

    spec: PipelineSpec
    data: Ingested
    evaluation: EvaluationSpec
    attempt: str
    seen: Seen
    retry: Callable[[str], str]
    predicting: Mapping[str, str]
    measuring: Mapping[str, str]

    def nodes(
        self,
        device: DeviceProfile,
        baseline: BaseChannel,
        stored: Predicted,
        measured: Mapping[str, BaseNode],
        tools: Mapping[str, str],
    ) -> list[BaseNode]:
        """The nodes for a device: one finds the champion, one predicts with it, and the last compares candidates.

        If the device has TensorFlow Lite Micro, another node runs the champion there.

        Args:
            device: The device.
            baseline: The float model.
            stored: Predictions of the float model and of all candidates.
            measured: Name of a recipe -> the node that measures its candidate; empty without evaluators.
            tools: Parameters of nodes that measure.
        """
        spec = self.spec
        name, registries = f"champion__{device.name}", registries_of(spec)
        seen = self.seen(device)
        asked = ChampionRequest(registries=registries, device=device, name=spec.name, classes=_classes(spec))
        champion = ChampionFinder(
            spec=asked.model_dump_json(),
            seen=seen or "",
            attempt="" if seen else self.attempt,
            retry=self.retry(name),
            code_version=_with_backends("components.champion.component", registries),
        ).with_id(name)
        # It doesn't depend on candidates, so a new recipe doesn't change it.
        predictions = Predictor(
            examples=self.data.examples,
            model=champion.outputs["champion"],
            baseline=stored.of_baseline,
            transform_graph=self.data.transform_graph,
            spec=prediction_spec(spec),
            **self.predicting,
        ).with_id(f"predict__{name}")
        there = champion_measurement(
            device, champion.outputs["champion"], stored.of_baseline, spec, self.data, retry=self.retry, task=tools
        )
        of_candidates = {recipe: node.outputs["measurement"] for recipe, node in measured.items()}
        request = ChallengeRequest(
            recipes=tuple(stored.of_recipes), evaluation=self.evaluation, label=spec.examples.label
        )
        challenge = candidate_node(
            Challenger,
            {},
            stored.of_recipes,
            {} if there is None else {MEASURED: of_candidates},
            examples=self.data.examples,
            baseline=baseline,
            champion=champion.outputs["champion"],
            of_champion=predictions.outputs["predictions"],
            champion_measurement=None if there is None else there.outputs["measurement"],
            transform_graph=self.data.transform_graph,
            spec=request.model_dump_json(),
            **self.measuring,
        ).with_id(f"challenge__{device.name}")
        return [champion, predictions, *([] if there is None else [there]), challenge]


def push_node(spec: PipelineSpec, device: DeviceProfile, decision: BaseNode, attempt: str) -> BaseNode:
    """The node that pushes the model that a device's gate blessed.

    Args:
        spec: The pipeline file.
        device: The device.
        decision: The gate.
        attempt: Token of this run.
    """
    registries = registries_of(spec)
    asked = {"registries": [one.model_dump() for one in registries], "device": device.model_dump()}
    if classes := _classes(spec):
        asked["classes"] = list(classes)
    asked["card"] = spec.card.model_dump()
    return Pusher(
        chosen=decision.outputs["chosen"],
        blessing=decision.outputs["blessing"],
        spec=json.dumps({**asked, "name": spec.name}),
        attempt=attempt,
        code_version=_with_backends("components.push.component", registries),
    ).with_id(f"push__{device.name}")


def _classes(spec: PipelineSpec) -> tuple[str, ...]:
    """Classes of the labels. They apply to the outputs only if the pipeline file names them."""
    return tuple(getattr(spec.examples, "classes", None) or ())


def _with_backends(module: str, registries: tuple[AnyRegistry, ...]) -> str:
    return " ".join(map(code_version, (module, *dict.fromkeys(map(backend_module, registries)))))
