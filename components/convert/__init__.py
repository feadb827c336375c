"""From a baseline to a TFLite file, in a child process, and what is really in that file."""
