"""Prepare a Keras model for training under fake quantization."""
