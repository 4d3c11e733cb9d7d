"""How many workers the next round has, when that may change between rounds: a pure rule.

After KubeML's policy (https://github.com/DiegoStock12/kubeml), which adds a worker while epochs get
faster and else removes one. Here a change that made the epoch slower is taken back, so that also
removing workers goes on only while it helps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def next_workers(
    epochs: Sequence[tuple[int, float]], *, most: int | None, fits: Callable[[int], bool]
) -> int:
    """The workers of the next epoch.

    Args:
        epochs: the workers of each epoch so far and the seconds that it took, at least one.
        most: the most that there may be; None leaves it to `fits`.
        fits: whether so many workers break no limit.
    """
    workers, last_s = epochs[-1]
    change = 1
    if len(epochs) > 1:
        before, before_s = epochs[-2]
        change = workers - before if last_s < before_s else before - workers
    wanted = workers + change
    if wanted < 1 or (most is not None and wanted > most) or not fits(wanted):
        return workers
    return wanted
