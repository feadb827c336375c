"""What changed between the answers of the float baseline and of a candidate, from their stored predictions."""
