"""The first signing of a registry, which can be repeated until it is complete.

The first root is written last, and makes the registry a signed one. What a signing leaves that is killed before is
finished with the same keys, or replaced if the keys are others. Only the timestamp is replaced: other files get new
names.
"""
