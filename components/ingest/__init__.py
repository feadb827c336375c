"""Ingestion of examples and schemas for which TFX's stock components lose information."""
