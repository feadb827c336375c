"""The float baseline, trained or pretrained: every candidate is derived from it and compared with it."""
