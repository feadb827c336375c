"""Code that the TFX shells of components share."""
