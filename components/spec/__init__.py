"""The content of a pipeline file as immutable, typed values. Nothing here imports TensorFlow."""
