"""What the folders of past runs hold, read without ML Metadata."""
