"""Predicts the effects of a conversion on a model before any node runs."""
