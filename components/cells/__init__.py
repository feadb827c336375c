"""Recurrent cells as integer kernels compute them, and their fake quantizers."""
