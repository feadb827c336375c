"""The update client of a device: `edgemill-device`. It imports neither TensorFlow nor TFX nor Beam."""
