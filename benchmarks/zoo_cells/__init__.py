"""Tests one model of `benchmarks/zoo.py`: runs each recipe like the pipeline's nodes, and judges the result."""
