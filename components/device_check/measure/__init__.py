"""Runs a device's tools on one candidate, and stores its predictions under each of them."""
