"""Decides which candidate each device gets: a pure policy over measured facts."""
