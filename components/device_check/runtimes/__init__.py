"""Runs candidates under runtimes and kernels other than the desktop's, and compares their outputs."""
