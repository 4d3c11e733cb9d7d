"""A training, from the plan to the averaged model."""
