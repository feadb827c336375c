"""How metrics read model outputs, and exact rank statistics."""
