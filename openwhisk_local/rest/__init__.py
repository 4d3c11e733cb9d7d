"""The REST side: from a request on the wire to a handler, and back."""
