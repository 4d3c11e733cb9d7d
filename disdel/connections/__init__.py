"""What connections to servers have in common: retries, trust, addresses without passwords."""
