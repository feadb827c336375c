"""TFX's decorator for function-based components. Imports TFX.

`tfx.v1.dsl.components` has the same names, but imports all of TFX's components.
"""

from __future__ import annotations

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component

__all__ = ["InputArtifact", "OutputArtifact", "Parameter", "component"]
