"""TFX's decorator for components that are one function. Imports TFX.

`tfx.v1.dsl.components` has the same names, and imports every component there is.
"""

from __future__ import annotations

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component

__all__ = ["InputArtifact", "OutputArtifact", "Parameter", "component"]
