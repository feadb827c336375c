"""A shipped pipeline: an autoencoder that knows one exercise, and finds other movements."""
