"""Which precision a network's steps are faster in, here: a trial of at most a second or so.

Only the framework that trains tells: what is faster hangs on the network, the batch and this
processor. Its steps change the trainer, so the trial is made before a state is loaded.
"""

from __future__ import annotations

import time

from disdel.runtimes.base import Trainer
from disdel.types.arrays import Array
from disdel.types.names import Precision
from openwhisk_local.machine.cpus import has_bfloat16

# A trial that is a draw would come out now so, now so.
_CLEARLY = 0.85
# Where the first steps, which trace the network, take longer, a second tracing is not worth it.
_FIRST_STEPS_S = 1.0
_REPEATS = 3


def faster_precision(trainer: Trainer, x: Array, y: Array) -> Precision:
    """The precision to train in; the trainer's state is another one afterwards.

    Args:
        trainer: of the network.
        x: samples, (batch, *input_shape).
        y: their labels, (batch,).
    """
    if not has_bfloat16():
        return "float32"
    rehearse = trainer.rehearsal(x, y)

    def spent_s(precision: Precision) -> float:
        # Of CPUs: how long it takes beside others who compute says nothing of it.
        began_s = time.process_time()
        rehearse(precision)
        return time.process_time() - began_s

    if spent_s("float32") > _FIRST_STEPS_S:
        return "float32"
    spent_s("bfloat16")
    # In turn, so that whoever shares the caches disturbs both.
    spent = [(spent_s("float32"), spent_s("bfloat16")) for _ in range(_REPEATS)]
    plain_s, short_s = (min(of_one) for of_one in zip(*spent, strict=True))
    return "bfloat16" if short_s < _CLEARLY * plain_s else "float32"
