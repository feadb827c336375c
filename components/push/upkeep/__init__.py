"""Maintenance of registries: verification, garbage collection, repair, and mirrors, the same for every kind."""
