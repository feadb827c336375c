"""A shipped pipeline: an autoencoder that learns one exercise, and detects other movements."""
