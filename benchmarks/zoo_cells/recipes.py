"""The recipes of the zoo."""

from __future__ import annotations

from typing import Any

# One epoch each, because the benchmark only checks that the step trains and that its result converts.
_ONE = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-4}
_PRUNE = {"kind": "prune", "sparsity": 0.5, "schedule": {"kind": "constant"}, **_ONE}

# The column of models whose accuracy counts, and their names: one of each kind of blocks.
ACCURACY = "accuracy"
LEARNERS = (
    *("mlp", "normalized_mlp", "layer_normalized", "cnn", "depthwise", "residual", "separable", "squeeze_excite"),
    *("convnext_block", "hard_swish", "mlp_mixer", "lstm", "bidirectional_lstm", "gru", "sru", "conv1d"),
    *("vision_transformer", "dot_attention"),
)

RECIPES: dict[str, dict[str, Any]] = {
    "float32": {"scheme": "float32"},
    "float16": {"scheme": "float16"},
    "dynamic": {"scheme": "dynamic_wi8_afp32"},
    "int8": {"scheme": "static_wi8_ai8"},
    "int16x8": {"scheme": "static_wi8_ai16"},
    "prune": {"steps": [_PRUNE], "scheme": "float32"},
    "cluster": {"steps": [{"kind": "cluster", "num_clusters": 8, **_ONE}], "scheme": "float32"},
    "qat": {"steps": [{"kind": "qat", **_ONE}], "scheme": "static_wi8_ai8"},
}
