"""The results of a run: a typed summary, an HTML report, and a table for the terminal."""
