"""Networks that the host has compiled."""
