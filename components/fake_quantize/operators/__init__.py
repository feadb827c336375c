"""TensorFlow functions as layers, and Keras layers that are written out as such functions."""
