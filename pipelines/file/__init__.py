"""The pipeline file and the environment file: fields, loading, and cross-field checks."""
