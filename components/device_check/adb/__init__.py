"""Runs TensorFlow Lite's benchmark binary on a phone that is connected through adb."""
