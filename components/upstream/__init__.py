"""Private, experimental and generation-dependent names of foreign libraries, one module per library."""
