"""Recurrent cells, computed as integer kernels compute them, and their fake quantizers."""
