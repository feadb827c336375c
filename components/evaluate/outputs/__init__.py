"""What is read from and observed of the outputs of the evaluated models."""
