"""What a user declares, and how it becomes a TFX pipeline."""
