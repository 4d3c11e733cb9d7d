"""collectWeights: the updates of a round become the next state. numpy only, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from disdel.errors import TrainingDiverged
from disdel.protocol.messages import CollectReply, CollectRequest, Update
from disdel.store.base import Store
from disdel.strategies.aggregation import weighted_mean
from disdel.strategies.registry import strategy_named
from disdel.types.arrays import Array
from disdel.worker.advance import advance
from disdel.worker.context import Context
from disdel.worker.each import combine
from disdel.worker.spans import SPAN_BYTES, Span, spans
from disdel.worker.sums import write_sums
from disdel.worker.updates import UpdateSource, open_updates, state_head

_WHOLE_BYTES = 32 << 20


def collect(request: CollectRequest, context: Context) -> CollectReply:
    """Make the next state of a round's updates and publish it; do nothing where there are none.

    Raises:
        AggregationError: an update is missing, is not what the request says, or the updates do not
            describe the same tensors.
        TrainingDiverged: an update has what is no number, and the strategy averages all of them; or
            all of them have.
        StrategyFailed: the strategy cannot combine so many updates.
    """
    sources: list[UpdateSource] = []
    left_out: dict[int, str] = {}
    if request.updates:
        sources, left_out = _publish(request, context.store)
    context.clock.ended("computed")
    header = sources[0].header if sources else None
    return CollectReply(
        updates=tuple(source.collected() for source in sources),
        left_out=tuple(f"client {client}: {why}" for client, why in left_out.items()),
        tensors=len(header.tensors) if header else 0,
        bytes=header.data_bytes if header else 0,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=context.clock.phases(),
    )


def _publish(request: CollectRequest, store: Store) -> tuple[list[UpdateSource], dict[int, str]]:
    """The updates that went into the next state, and why others did not, by client."""
    wanted = request.advance
    if wanted is None:
        return average(store, request.updates, request.state_key), {}
    strategy = strategy_named(wanted.strategy, wanted.parameters)
    mean_key = wanted.mean_key if strategy.advances else request.state_key
    left_out: dict[int, str] = {}
    if strategy.sees_each:
        sources, left_out = combine(
            store, strategy, request.updates, before_key=wanted.before_key, state_key=mean_key
        )
    else:
        # All updates in one action: the more there are, the less is read of each at once.
        most = _WHOLE_BYTES // len(request.updates) if wanted.sums else SPAN_BYTES
        sources = average(store, request.updates, mean_key, span_bytes=min(SPAN_BYTES, most))
    if wanted.sums_key is not None:
        write_sums(store, sources, wanted.before_key, wanted.sums_key)
    if strategy.advances:
        advance(store, wanted, request.state_key)
    return sources, left_out


def average(
    store: Store, updates: Sequence[Update], state_key: str, *, span_bytes: int = SPAN_BYTES
) -> list[UpdateSource]:
    """Write the weighted mean of `updates` under `state_key`, block by block; they, when read.

    Memory is a few blocks whatever the size of the model, and grows by one block an update. The
    result appears under its key only when it is complete.

    Raises:
        AggregationError: as `open_updates`, or a weight is not positive.
        TrainingDiverged: an update has what is no number.
    """
    sources = open_updates(store, updates)
    store.put_stream(state_key, _averaged(sources, span_bytes))
    return sources


def _averaged(sources: Sequence[UpdateSource], span_bytes: int) -> Iterator[bytes]:
    weights = [source.update.weight for source in sources]
    header = sources[0].header
    yield state_head(header, sum(source.update.samples for source in sources))
    for span in spans(header.tensors, span_bytes):
        blocks = [source.read(span) for source in sources]
        mean = weighted_mean(blocks, weights)
        if mean.dtype.kind == "f" and not np.isfinite(mean).all():
            _check_numbers(sources, blocks, span)
        yield mean.tobytes()


def _check_numbers(sources: Sequence[UpdateSource], blocks: Sequence[Array], span: Span) -> None:
    """Refuse elements that are no numbers in some updates; a mask is infinite in all of them."""
    broken = ~np.isfinite(np.stack(blocks))
    odd = np.argwhere(broken & ~np.all(broken, axis=0))
    if not len(odd):
        return
    index, element = map(int, odd[0])
    source = sources[index]
    name = source.tensor_at(span.start + element * span.dtype.itemsize)
    raise TrainingDiverged(
        f"the update of client {source.update.client} has {blocks[index][element]} in {name}, and "
        "the mean of all updates would have it, too: --strategy median leaves such clients out"
    )
