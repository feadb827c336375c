"""Compares candidates with the champion of a device, on the same examples."""
