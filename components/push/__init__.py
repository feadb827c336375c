"""Delivery of blessed bytes to a registry."""
