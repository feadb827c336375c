"""What a run tells: a typed summary, one HTML file for people, one table for the terminal."""
