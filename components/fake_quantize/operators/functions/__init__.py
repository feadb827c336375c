"""Functions of TensorFlow on tensors, rewritten as layers."""
