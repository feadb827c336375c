"""What `benchmarks/zoo.py` does with one model: run each recipe as the pipeline's nodes do, and judge the result."""
