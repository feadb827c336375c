"""Ingestion of examples and schemas where TFX's stock components lose information."""
