"""What controller and activations say to each other, and under which keys."""
