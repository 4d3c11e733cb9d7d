"""Networks of the user's own: described, built and scored as their framework does it."""
