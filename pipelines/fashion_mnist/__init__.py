"""The main example: clothing on 28x28 grey images."""
