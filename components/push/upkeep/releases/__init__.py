"""The files of one release: which ones are signed, and what restores them."""
