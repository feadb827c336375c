"""Model cards: the facts about one model for one device, and their text in the standard form."""
