"""What an activation does with the store, read off its request.

A key in a request is read, unless its field is named here. A test knows all fields of requests that
are keys, so that a new one gets its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from disdel.protocol import client_messages, messages
from disdel.protocol.keys import RunKeys
from disdel.store.lending import Needs

# Whatever message they are in.
WRITTEN = frozenset(
    {
        *("update_key", "checkpoint_key", "new_optimizer_key", "new_own_key", "sum_key"),
        *("to_key", "output_key", "mean_key", "sums_key", "new_kept_key"),
        *("reply_key", "new_context_key"),
    }
)
# Written in these messages, and read in others.
WRITTEN_IN = frozenset(
    {
        (messages.CollectRequest, "state_key"),
        (client_messages.CombineRequest, "state_key"),
        (messages.ScoreRequest, "model_key"),
        (client_messages.ClientTurn, "model_key"),
    }
)
# Written by whoever is first, where the message says `initialise`.
CREATED_IN = frozenset(
    {(messages.TrainRequest, "state_key"), (client_messages.TrainClientsRequest, "state_key")}
)
# Of small hashes.
HASHES = frozenset({"progress_key", "scores_key", "open_key", "claims_key"})
# Of these, the field that is called by the worker's number.
OWN_FIELD = frozenset({"progress_key", "scores_key"})
# Beside its time limit, how long an activation may wait for a container.
WAIT_S = 900.0


def needs_of(request: object, keys: RunKeys, invocation: str | None, timeout_s: float) -> Needs:
    """What the activation of a request needs.

    Args:
        request: a message.
        keys: of its run.
        invocation: what it claims; None where it claims nothing.
        timeout_s: its time limit.
    """
    reads, writes, creates = set(), set(), set()
    looks, hashed = {(keys.open, RunKeys.WIRE)}, set()
    if invocation is not None:
        hashed.add((keys.claims, invocation))
    for message, name, key in _keys(request, keys.prefix):
        place = (type(message), name)
        if name in OWN_FIELD:
            hashed.add((key, str(getattr(request, "worker", ""))))
        elif name == "open_key":
            looks.add((key, RunKeys.CLOSED))
        elif name == "claims_key" and isinstance(message, client_messages.SecureSession):
            hashed |= {(key, field) for field in message.claimed_fields()}
        elif name in WRITTEN or place in WRITTEN_IN:
            writes.add(key)
        elif place in CREATED_IN and getattr(message, "initialise", False):
            creates.add(key)
        else:
            reads.add(key)
    return Needs(
        reads=frozenset(reads),
        writes=frozenset(writes),
        creates=frozenset(creates),
        looks=frozenset(looks),
        fields=frozenset(hashed),
        lasts_s=timeout_s + WAIT_S,
    )


def _keys(message: object, prefix: str) -> Iterator[tuple[object, str, str]]:
    """The keys in a message and in those within it, each with the name of its field."""
    if not is_dataclass(message):
        return
    for field in fields(message):
        value = getattr(message, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, str) and part.startswith(prefix):
                yield message, field.name, part
            else:
                yield from _keys(part, prefix)
