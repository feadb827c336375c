"""Buckets of object stores, each through its own client."""
