"""Contiguous slices of a split, one a worker; and which worker trains which clients in turn."""

from __future__ import annotations

from collections.abc import Sequence

from disdel.types import Slice
from disdel.types.assignment import equal_counts


def equal_slices(samples: int, workers: int) -> tuple[Slice, ...]:
    """Cut `samples` positions into `workers` slices whose sizes differ by at most one.

    The longer ones come first. Every position is in exactly one slice.
    """
    slices, start = [], 0
    for worker, count in enumerate(equal_counts(samples, workers)):
        slices.append(Slice(worker=worker, start=start, stop=start + count))
        start += count
    return tuple(slices)


def take_turns(steps: Sequence[float], workers: int) -> tuple[tuple[int, ...], ...]:
    """The clients of each of `workers` workers, so that the busiest has little more to do.

    The client with most steps first, each goes to the worker that has least so far. Where there are
    no more clients than workers, they are one each, in their order, and other workers have none.

    Args:
        steps: those of each client, all above 0.
        workers: how many train at the same time.
    """
    if len(steps) <= workers:
        alone = tuple((client,) for client in range(len(steps)))
        return alone + ((),) * (workers - len(steps))
    turns: list[list[int]] = [[] for _ in range(workers)]
    busy = [0.0] * workers
    for client in sorted(range(len(steps)), key=lambda c: (-steps[c], c)):
        worker = min(range(workers), key=lambda w: (busy[w], len(turns[w]), w))
        turns[worker].append(client)
        busy[worker] += steps[client]
    return tuple(tuple(sorted(clients)) for clients in turns)
