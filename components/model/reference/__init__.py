"""The float model that candidates are compared with: a SavedModel or a TFLite file."""
