"""Rebuild models of Keras 3 layer by layer in tf-keras, because the two can't share one process."""
