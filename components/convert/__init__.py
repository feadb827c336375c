"""Conversion of a model to a TFLite file in a child process, and checks of that file."""
