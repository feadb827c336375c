"""The content of the pages of Kubeflow Pipelines about a run."""
