"""TFX without its public package `tfx.v1`, which imports all of its components."""
