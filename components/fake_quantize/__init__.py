"""From a Keras model to one that trains under fake quantization."""
