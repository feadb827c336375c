"""The main example: clothing on 28x28 gray images."""
