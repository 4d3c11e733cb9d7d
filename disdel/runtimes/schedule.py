"""Which samples a client trains on at which step: pure functions of the seed.

A client's training is one sequence of steps, numbered from 0. Epoch `e` of a shard of `n` samples
is steps `e*s` to `(e+1)*s` with `s = ceil(n / batch)`; its order is a permutation drawn from (seed,
client, epoch), and its last batch is the ragged rest, as in Keras's `fit`. A round, and a segment
of a round, is a range of steps; wherever the sequence is cut, the same samples follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Seeds = npt.NDArray[np.uint32]

# Keeps the seeds of steps apart from those of the orders of epochs.
_STEPS = (1,)
# What was drawn last is kept of so many small clients, see `Schedule.draw_ahead`.
_KEPT, _SMALL = 64, 1024


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of one client.

    Args:
        samples: the samples of the shard.
        batch_size: samples of a step; the last step of an epoch has what is left.
        seed: the run's seed.
        client: the client's number.
    """

    samples: int
    batch_size: int
    seed: int
    client: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.samples // self.batch_size)

    def samples_between(self, start: int, stop: int) -> int:
        """Samples seen in steps `start` to `stop`."""
        return self._samples_before(stop) - self._samples_before(start)

    def _samples_before(self, step: int) -> int:
        epochs, rest = divmod(step, self.steps_per_epoch)
        return epochs * self.samples + rest * self.batch_size

    def order(self, epoch: int) -> Indices:
        """The permutation of the shard's positions in `epoch`, (samples,) int64, read-only."""
        draw = _kept_order if self.samples <= _SMALL else _order
        return draw(self.seed, self.client, epoch, self.samples)

    def seeds(self, start: int, stop: int) -> Seeds:
        """What random numbers of steps `start` to `stop` begin with, (steps,) uint32, read-only."""
        draw = _kept_seeds if stop - start <= _SMALL else _seeds
        return draw(self.seed, self.client, start, stop)

    def draw_ahead(self, start: int, stop: int, max_steps: int, *, seeds: bool) -> None:
        """Draw what the first of the `blocks` from `start` takes, and keep it if it is small.

        To draw takes six times as long beside training, whose tensors drive numpy's code out of the
        processor's caches, as for many clients in a row.
        """
        if self.samples > _SMALL:
            return
        for step, positions in islice(self.blocks(start, stop, max_steps), 1):
            if seeds:
                self.seeds(step - len(positions), step)

    def blocks(self, start: int, stop: int, max_steps: int) -> Iterator[tuple[int, Indices]]:
        """Steps `start` to `stop` as blocks of equally sized batches.

        Args:
            start: the first step.
            stop: one past the last step.
            max_steps: the most steps in a block.

        Yields:
            The number of the step after the block, and the positions in the shard to train on,
            (steps, batch) int64. A ragged batch is a block of its own.
        """
        epoch, order = -1, np.empty(0, np.int64)
        step = start
        while step < stop:
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self.order(epoch)
            within = step - epoch * self.steps_per_epoch
            whole = self.samples // self.batch_size
            count = min(max_steps, stop - step, whole - within) if within < whole else 1
            first = within * self.batch_size
            batch = min(self.batch_size, self.samples - first)
            step += count
            yield step, order[first : first + count * batch].reshape(count, batch)


def _order(seed: int, client: int, epoch: int, samples: int) -> Indices:
    drawn = np.random.default_rng((seed, client, epoch)).permutation(samples)
    drawn.setflags(write=False)
    return drawn


def _seeds(seed: int, client: int, start: int, stop: int) -> Seeds:
    entropies = ((seed, client, step) for step in range(start, stop))
    drawn = (np.random.SeedSequence(e, spawn_key=_STEPS).generate_state(1) for e in entropies)
    seeds = np.concatenate([np.empty(0, np.uint32), *drawn])
    seeds.setflags(write=False)
    return seeds


_kept_order = lru_cache(_KEPT)(_order)
_kept_seeds = lru_cache(_KEPT)(_seeds)


def round_steps(
    schedule: Schedule, *, epochs: int, rounds: int, sync: str | int, round_number: int
) -> tuple[int, int]:
    """The range of steps that `round_number` (from 1) has for this client; may be empty.

    With `sync` an integer K, a client whose shard has fewer steps an epoch than another's has
    nothing left to do in the last rounds.
    """
    total = epochs * schedule.steps_per_epoch
    if sync == "once":
        per_round = total
    elif isinstance(sync, int):
        per_round = sync
    else:
        per_round = schedule.steps_per_epoch
    start = min(total, (round_number - 1) * per_round)
    stop = total if round_number == rounds else min(total, round_number * per_round)
    return start, stop
