"""The ai-edge-quantizer back-end."""
