"""Training steps of a recipe: prune, cluster, and quantization-aware training."""
