"""The first signing of a registry, which can be repeated until it is complete.

The first root is written last, and makes the registry a signed registry. If a signing is killed before that, the next
one finishes it with the same keys, or replaces it if the keys differ. Only the timestamp is replaced: other files get
new names.
"""
