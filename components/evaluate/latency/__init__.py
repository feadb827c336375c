"""Times each candidate on the host, in a node of its own."""
