"""Where actions run: one interface, and the clients that implement it."""
