"""TFX, past its public package `tfx.v1`, which imports every component there is."""
