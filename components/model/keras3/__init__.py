"""Models that Keras 3 saved, rebuilt layer by layer in tf-keras, because both Keras can't share one process."""
