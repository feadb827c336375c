"""Finds the champion of a device, which is its last release."""
