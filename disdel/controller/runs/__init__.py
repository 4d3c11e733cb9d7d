"""A run's folder and places: its lease, its report, what is to be removed."""
