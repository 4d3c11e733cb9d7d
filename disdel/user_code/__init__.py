"""The user's own Python code: found and collected on the host, run where its files lie."""
