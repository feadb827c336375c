"""The training loop shared by prune, cluster, and qat."""
