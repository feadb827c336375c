"""Implements `edgemill init`: looks at data and a model, and writes a pipeline for them."""
