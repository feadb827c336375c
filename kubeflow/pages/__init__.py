"""What the pages of Kubeflow Pipelines show about a run."""
