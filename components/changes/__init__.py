"""What changed between the answers of the float baseline and those of a candidate, from stored predictions."""
