"""Flower apps: their ServerApp in a process here, each call of their ClientApp an activation.

Of these modules `app`, `grid`, `link` and `server_process` are the ServerApp's process and import
Flower; the others are the controller's, which does not.
"""
