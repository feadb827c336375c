"""Environment files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SECRET = "correct-horse-battery-staple"


def cluster(**changes: Any) -> dict[str, Any]:
    """The section `kubeflow` of a whole environment file."""
    return {
        "image": "registry.example.org/edgemill:1",
        "pipeline_root": "minio://mlpipeline/v2/artifacts",
        "registry": "/registry",
        "volumes": [{"claim": "edgemill-registry", "path": "/registry"}],
        **changes,
    }


def write_environment(folder: Path, section: dict[str, Any], **others: Any) -> Path:
    """An environment file in a folder."""
    path = folder / "environment.yaml"
    path.write_text(yaml.safe_dump({"kubeflow": section, **others}))
    return path
