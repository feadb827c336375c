"""What happens to a model in a conversion, found before any node runs."""
