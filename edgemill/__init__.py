"""The command line: on top of everything, imports heavy things only when needed."""
