"""Compiles a pipeline file for a cluster of Kubeflow Pipelines. The same input gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import SpecError
from components.core.files import write_atomically
from components.core.values import FrozenModel
from components.core.version import code_version
from components.upstream.tfx.kubeflow import compile_for_kubeflow
from kubeflow.cluster_secrets import USE_REGISTRY
from kubeflow.contract import Json
from kubeflow.environment import EnvironmentFile, KubeflowEnvironment, cluster_of, read_environment
from kubeflow.folders import EDGEMILL_IN_IMAGE, ImageFolders, examples_digest
from kubeflow.spec import adapt, platform
from pipelines.checks.preflight import preflight
from pipelines.file.load import LoadedPipeline
from pipelines.file.spec import PipelineSpec
from pipelines.file.user_folders import make_importable
from pipelines.graph.steps import recipes_of_nodes
from pipelines.graph.tfx_start import defer_tfx_components

ENTRYPOINT = ["python", "-m", "kubeflow.entrypoint"]
REPORT_NODE = "report"
_SPEC_MODULE = "kubeflow.pages.ui_component"


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """See the base class."""
        return True


class Compiled(FrozenModel):
    """A compiled pipeline.

    Attributes:
        pipeline, platform: A PipelineSpec of schema 2.1 and a PlatformSpec, as JSON. The second is None if the pipeline
            needs nothing specific to Kubernetes.
    """

    name: str
    pipeline: Json
    platform: Json | None

    def to_yaml(self) -> str:
        """The file for Kubeflow Pipelines: one or two documents with sorted keys."""
        documents = [self.pipeline] if self.platform is None else [self.pipeline, self.platform]
        head = f"# PIPELINE DEFINITION\n# Name: {self.name}\n"
        return head + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=120)


def compile_file(file: Path, environment: Path, *, skip_impossible: bool = False) -> Compiled:
    """Check a pipeline file and an environment file, and compile.

    The model is built only for a pipeline that skips impossible recipes. The container that runs its report shows
    which recipes are missing.

    Args:
        file: The pipeline file.
        environment: The environment file.
        skip_impossible: Whether to skip impossible recipes even if the pipeline file does not request it.

    Raises:
        SpecError: A file is wrong, or the image would lack something.
    """
    found = read_environment(environment)
    cluster = cluster_of(found, environment)
    loaded = preflight(
        file, data=cluster.examples is None, registry=False, tools=False, skip_impossible=skip_impossible
    )
    if loaded.spec.impossible == "skip":
        from pipelines.checks.dry_run import check_model

        make_importable(file)
        loaded = check_model(loaded)
    return compile_pipeline(loaded, found, cluster)


def write_compiled(compiled: Compiled, output: Path) -> None:
    """Write the compiled file atomically.

    Raises:
        SpecError: The name does not end in `.yaml` or `.yml`, or the file cannot be written.
    """
    if output.suffix not in {".yaml", ".yml"}:
        raise SpecError("the compiled file is YAML", where=f"-o {output}", bound="a name that ends in .yaml",
                        remedy="rename it")  # fmt: skip
    try:
        write_atomically(output, compiled.to_yaml().encode())
    except OSError as error:
        raise SpecError(
            f"this file cannot be written: {error.strerror}", where=f"-o {output}", remedy="choose another path"
        ) from error


def compile_pipeline(loaded: LoadedPipeline, found: EnvironmentFile, cluster: KubeflowEnvironment) -> Compiled:
    """Compile a pipeline that has passed its checks.

    Raises:
        SpecError: The image would lack data, a model, or a module, or two nodes would have the same name.
    """
    spec, folders = loaded.spec, ImageFolders(cluster.folders)
    parameters, digest = _placed(spec, cluster, folders)
    python_path = folders.python_path(spec)
    # Edgemill comes first, because a project can have packages with the same names.
    env = {**({"PYTHONPATH": ":".join([EDGEMILL_IN_IMAGE, *python_path])} if python_path else {}), **cluster.env}
    nodes = _tfx_spec(loaded, found, cluster)
    with_registry = {
        node: {"spec": _with_registry(task["inputs"]["parameters"]["spec"], cluster.registry)}
        for node, task in nodes["root"]["dag"]["tasks"].items()
        if node.startswith(USE_REGISTRY)
    }
    pipeline = adapt(
        nodes,
        cluster,
        parameters={**parameters, **with_registry},
        arguments={"examples": ["--examples_sha256", digest]} if digest else {},
        env=env,
        # Kubeflow's cache compares only parameters, not the data at an address or in a volume.
        uncached=frozenset({REPORT_NODE, *with_registry, *([] if digest else ["examples"])}),
        recipes=recipes_of_nodes(spec.recipes),
    )
    checked = check_spec(pipeline)
    return Compiled(name=spec.name, pipeline=checked, platform=platform(checked, cluster))


def check_spec(pipeline: Json) -> Json:
    """Return the canonical form of a PipelineSpec. Raises protobuf's ParseError if it isn't valid."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    parsed = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(pipeline["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    canonical: Json = json_format.MessageToDict(parsed)
    return canonical


def _placed(
    spec: PipelineSpec, cluster: KubeflowEnvironment, folders: ImageFolders
) -> tuple[dict[str, dict[str, str]], str | None]:
    """Map node IDs to path parameters in the image, and return the digest of the examples there, if they are there."""
    elsewhere = cluster.examples or (spec.examples.path if "://" in spec.examples.path else None)
    place = elsewhere or folders.place(spec.examples.path, "examples.path")
    parameters, digest = {"examples": {"input_base": place}}, None
    if elsewhere is None:
        digest = examples_digest(Path(spec.examples.path), spec.examples.patterns.values())
    if spec.examples.schema_file is not None:
        parameters["schema"] = {"path": folders.place(spec.examples.schema_file, "examples.schema_file")}
    if spec.baseline.kind == "pretrained":
        parameters["baseline"] = {"path": folders.place(spec.baseline.path, "baseline.path")}
    return parameters, digest


def _with_registry(parameter: Json, root: str | None) -> str:
    request = json.loads(parameter["runtimeValue"]["constant"])
    folders = [registry for registry in request["registries"] if registry["kind"] == "local"]
    if len({registry["root"] for registry in folders}) > 1:
        raise SpecError(
            "the containers have only one folder for releases",
            where="push",
            bound="at most one folder among the registries",
            measured=", ".join(registry["root"] for registry in folders),
            remedy="keep one of them, and use object stores for the others",
        )
    for registry in folders:
        if root is None:
            raise SpecError(
                "the containers have no folder for the releases",
                where="kubeflow.registry",
                bound="a folder in a volume, because the pipeline file pushes to a folder",
                remedy="add it, or push to an object store: push: {kind: s3, root: s3://BUCKET/PREFIX}",
            )
        registry["root"] = root
    return json.dumps(request)


def _tfx_spec(loaded: LoadedPipeline, found: EnvironmentFile, cluster: KubeflowEnvironment) -> Json:
    defer_tfx_components()
    from tfx.orchestration.pipeline import Pipeline

    from kubeflow.pages.ui_component import ReportRequest, run_report
    from pipelines.graph.build import pipeline_nodes

    spec = loaded.spec
    nodes = pipeline_nodes(loaded, attempt="on Kubeflow no push is cached")
    recipes = recipes_of_nodes(spec.recipes)
    request = ReportRequest(pipeline=spec.name, devices=loaded.devices, recipes=recipes, skipped=loaded.skipped)
    candidates = tuple(recipe.name for recipe in spec.recipes)
    report = run_report({node.id: node for node in nodes}, candidates, request, code_version(_SPEC_MODULE))
    pipeline = Pipeline(
        pipeline_name=spec.name,
        pipeline_root=cluster.pipeline_root,
        components=[*nodes, report.with_id(REPORT_NODE)],
        enable_cache=True,
        beam_pipeline_args=list(found.beam_args),
    )
    return compile_for_kubeflow(pipeline, cluster.image, ENTRYPOINT)
