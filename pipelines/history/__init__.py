"""The content of the folders of past runs, read without ML Metadata."""
