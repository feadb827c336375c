"""The user's task, decoded examples, and training data."""
