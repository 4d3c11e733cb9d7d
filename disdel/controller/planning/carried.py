"""Whether a run can do without a store: what its requests carry then, and what a platform takes."""

from __future__ import annotations

from disdel.controller.session import Session
from disdel.errors import UsageError
from disdel.store.inline_host import InlineHost
from disdel.types.units import format_bytes

# Bytes in base64.
_CARRIED = 4 / 3


def check_carried(session: Session, least_bytes: int) -> None:
    """Refuse, before anything is made, what no request can carry.

    Args:
        session: with the store, which may be none.
        least_bytes: what one of the requests carries at least.

    Raises:
        UsageError: that is more than the platform takes.
    """
    store, most_bytes = session.store, session.capacity.payload_bytes
    carried_bytes = round(_CARRIED * least_bytes)
    if isinstance(store, InlineHost) and carried_bytes > most_bytes:
        because = f"{store.because}, and " if store.because else "without a store "
        raise UsageError(
            f"{because}a request carries at least {format_bytes(carried_bytes)} of samples and "
            f"weights, where {format_bytes(most_bytes)} are the most: name a store that all "
            "actions reach (--store URL), or deal the samples to more containers"
        )
