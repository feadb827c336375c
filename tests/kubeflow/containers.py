"""The container lane's two halves around building the image: `prepare` a project, and `run` it in containers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

IMAGE = "edgemill:test"


def prepare(work: Path) -> None:
    """A small project, and an environment file for it."""
    from tests.kubeflow.environments import cluster, write_environment
    from tests.small_pipeline import SmallPipeline

    for name in ("project", "root"):
        shutil.rmtree(work / name, ignore_errors=True)
    pipeline = SmallPipeline(work / "project")
    # Training steps too, the second from what the first has made.
    steps = [{"kind": "prune", "sparsity": 0.5, "epochs": 2}, {"kind": "qat", "epochs": 1}]
    pipeline.spec["recipes"].append({"name": "pruned_qat", "steps": steps, "scheme": "static_wi8_ai8"})
    pipeline.write()
    # Only the pipeline root is mounted there, so the registry lies in it.
    registry = str(work / "root" / "registry")
    section = cluster(
        image=IMAGE,
        folders={"project": "/project"},
        registry=registry,
        volumes=[{"claim": "registry", "path": registry}],
    )
    write_environment(work, section)


def run(work: Path) -> None:
    """Compile the project and run it under kfp's local Docker runner; what it delivered must lie in the registry."""
    import kfp.local
    from kfp.components import load_component_from_file

    from kubeflow.compile import compile_file, write_compiled
    from pipelines.file.user_folders import make_importable

    file = work / "project" / "pipeline.yaml"
    make_importable(file)
    write_compiled(compile_file(file, work / "environment.yaml"), work / "small.yaml")
    # The container's user is another than this one.
    os.umask(0)
    (work / "root" / "registry").mkdir(parents=True)
    kfp.local.init(runner=kfp.local.DockerRunner(), pipeline_root=str(work / "root"), raise_on_error=True)
    load_component_from_file(str(work / "small.yaml"))()
    (release,) = (work / "root" / "registry").glob("phone_cpu/small/*/model.tflite")
    (page,) = (work / "root").glob("small-*/report/report")
    assert page.read_text().startswith("<!DOCTYPE html>")
    print(f"delivered {release}: {release.stat().st_size} bytes; report: {page}")


if __name__ == "__main__":
    {"prepare": prepare, "run": run}[sys.argv[1]](Path(sys.argv[2]))
