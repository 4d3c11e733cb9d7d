"""Client-level differential privacy: clipped updates, Gaussian noise, and what it has cost."""
