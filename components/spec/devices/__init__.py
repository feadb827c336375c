"""Device profiles: capabilities, budgets, and the tools that check candidates."""
