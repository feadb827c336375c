"""A shipped pipeline: a CRNN that transcribes strips of garments."""
