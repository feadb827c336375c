"""Signed registries: the roles and metadata of The Update Framework, keys, channels, and staged roll-outs."""
