"""Runs candidates under other runtimes and kernels than the desktop's, and compares their outputs."""
