"""TensorFlow Lite as TensorFlow ships it: the format, the converter, and the interpreter."""
