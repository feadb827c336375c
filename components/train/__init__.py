"""Training of the float baseline."""
