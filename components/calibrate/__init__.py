"""Draws a representative dataset and audits it."""
