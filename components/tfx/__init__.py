"""What the TFX shells share."""
