"""Whether examples are what the pipeline file says they are."""
