"""`edgemill serve`: a read-only results page over the folders of past runs and the registries that they pushed to."""
