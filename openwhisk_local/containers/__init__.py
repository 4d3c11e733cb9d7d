"""Where code runs: placement, processes, limits and logs."""
