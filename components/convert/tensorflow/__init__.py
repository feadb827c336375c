"""The TensorFlow Lite converter back-end."""
