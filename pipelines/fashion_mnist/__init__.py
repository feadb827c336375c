"""The main example: 28x28 grayscale images of clothing."""
