"""A model that loses accuracy with plain int8, and three ways to recover it."""
