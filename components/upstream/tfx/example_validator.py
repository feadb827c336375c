"""TFX's ExampleValidator, with access to the validation of one split. Imports TFX."""

from __future__ import annotations

from typing import Any

from tfx.components.example_validator import executor


class ExampleValidatorExecutor(executor.Executor):
    """TFX's executor, with a public method instead of its private one."""

    def validate_split(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        """Validate the statistics of one split.

        Args:
            inputs: `schema` and `statistics`, as messages.
            outputs: Output artifact for the anomalies.

        Returns:
            The anomalies, as a message.
        """
        return super()._Validate(inputs, outputs)

    def _Validate(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        return self.validate_split(inputs, outputs)
