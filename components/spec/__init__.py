"""What a pipeline file says, as frozen typed values. Nothing here imports TensorFlow."""
