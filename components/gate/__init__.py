"""Which candidate may reach which device: a pure policy over measured facts."""
