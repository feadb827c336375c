"""Reading and running models: SavedModel, Keras, and TFLite."""
