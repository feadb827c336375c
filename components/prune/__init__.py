"""Pruning: zeros among the weights, laid where they are wanted, trained around, and kept."""
