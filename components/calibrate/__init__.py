"""A representative dataset: which examples, and whether they can be trusted."""
