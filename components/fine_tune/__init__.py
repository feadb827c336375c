"""The training loop that prune, cluster, and qat share."""
