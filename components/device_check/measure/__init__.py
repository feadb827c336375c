"""Runs the tools of a device on one candidate, and stores what it answered under them."""
