"""Read and run SavedModel, Keras, and TFLite models."""
