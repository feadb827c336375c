"""Models that Keras 3 saved, rebuilt layer by layer in tf-keras, because two versions of Keras can't share one process."""
