"""What headers of HTTP say to whoever sends requests."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime


def retry_after_s(asked: str) -> float:
    """What a header Retry-After asks for, seconds or a date; 0 where it asks for nothing."""
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return 0.0
