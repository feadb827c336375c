"""TFX shell of quantization-aware training: Examples and a Model -> a Model with trained ranges."""

from typing import Any

from components.fine_tune.shell import training_step
from components.spec.scheme import Form, Scheme
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.qat import QatStep

_NOTHING = WeightInvariants()


@training_step
def QuantizationAwareTrainer(
    inputs: Any, step: QatStep, scheme: Scheme, invariants: WeightInvariants = _NOTHING, recurrent: Form | None = None
) -> Any:
    """Train the model under quantization. Write a SavedModel, `training.json`, and TensorBoard logs."""
    from components.quantize.training import train_quantized

    return train_quantized(inputs, step, scheme, invariants, recurrent)
