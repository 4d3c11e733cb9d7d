"""Why a platform does not start."""

from __future__ import annotations


class Refused(Exception):
    """It cannot be run as it was asked to; the message says why and what to do."""


class StateError(Exception):
    """The state folder cannot be used; the message says why and what to do."""
