"""TensorFlow Lite in the TensorFlow package: the format, the converter, and the interpreter."""
