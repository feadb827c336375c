"""What the baseline and every candidate score, weigh and take, in one pass over the data."""
