"""How to read the outputs of the evaluated models, and facts about their values."""
