"""Times each candidate on the host, in its own node."""
