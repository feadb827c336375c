"""Recurrent cells, computed the same way as by integer kernels, and their fake quantizers."""
