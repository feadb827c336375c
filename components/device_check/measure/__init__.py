"""Runs the tools of a device on one candidate, and stores its predictions under them."""
