"""A model that plain int8 cannot hold, and three ways to win it back."""
