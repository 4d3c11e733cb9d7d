"""What controller and actions agree on where clients are protected."""

from __future__ import annotations

# At the end of a sum of protected updates: those within the clipping bound less those beyond it,
# and their losses in units of 2**-16.
COUNTS = 2
LOSS_UNITS = 1 << 16
# What the train action has among its own parameters: of it each client's secret is derived.
SECRET_PARAMETER = "client_secret"
