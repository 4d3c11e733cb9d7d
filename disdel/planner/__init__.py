"""How much memory and time the work takes, and how it is cut: pure functions."""
