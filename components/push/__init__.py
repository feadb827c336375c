"""Publishes blessed models in a registry."""
