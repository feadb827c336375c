"""The numeric formats of candidates: one class each, with the facts that all other code reads."""
