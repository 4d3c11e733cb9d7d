"""What the next clients of a container take before their steps, beside the present one's.

Their samples are read together, and what their first steps draw is drawn in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from disdel.protocol.client_messages import ClientTurn, TrainClientsRequest
from disdel.worker.client_turns import most_bytes, schedule_of
from disdel.worker.context import Context
from disdel.worker.shards import Samples, ShardCache

# The samples of so many clients are read ahead, if they are so few.
MOST_CLIENTS = 32
_MOST_BYTES = 4 << 20


def read_ahead(
    request: TrainClientsRequest,
    following: Sequence[ClientTurn],
    alike: Samples,
    shards: ShardCache,
    context: Context,
    *,
    seeds: bool,
) -> None:
    """Begin to read the next clients' samples together, where they are in the store and few.

    Args:
        request: of the activation.
        following: turns that are to come, at most `MOST_CLIENTS`.
        alike: what another client has.
        shards: where they are read to.
        context: of the activation.
        seeds: whether steps take any.
    """
    if not following or shards.is_ahead(following[0].shard_key):
        return
    turns: dict[str, ClientTurn] = {}
    left_bytes = _MOST_BYTES
    for turn in following:
        left_bytes -= most_bytes(turn, alike)
        # Without steps, nothing says how many a client has.
        if turn.shard_key is None or turn.stop_step == turn.start_step or left_bytes < 0:
            break
        turns[turn.shard_key] = turn

    def draw(key: str, samples: Samples) -> None:
        turn = turns[key]
        schedule = schedule_of(turn, len(samples.x), request.network.seed)
        schedule.draw_ahead(turn.start_step, turn.stop_step, request.block_steps, seeds=seeds)

    if turns:
        shards.read_ahead(list(turns), context, draw)
