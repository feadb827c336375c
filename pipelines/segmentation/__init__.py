"""A shipped pipeline: a U-Net that finds the pixels of garments."""
