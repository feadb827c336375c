"""Buckets of object stores, each accessed through its own client."""
