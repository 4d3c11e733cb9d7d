"""An inference, from the question to the scores."""
