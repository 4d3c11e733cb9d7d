"""OpenWhisk's REST API."""
