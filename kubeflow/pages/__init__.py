"""What the Kubeflow pages show of a run."""
