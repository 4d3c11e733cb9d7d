"""Several platforms as one: the endpoints of a file, each with a platform of its own."""
