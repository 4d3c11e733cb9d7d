"""What of a job does not go with its strategy, told before anything runs."""

from __future__ import annotations

from disdel.controller.planning.local_sgd import checked_sgd
from disdel.errors import StrategyFailed, UsageError
from disdel.strategies.base import Strategy
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.selection import chosen_participants
from disdel.types import FederateJob, ModelSpec, TrainJob

# Of rounds and clients, so many show what a strategy does.
_LOOKED_AT = 100


def check_strategy(strategy: Strategy, job: TrainJob, model: ModelSpec) -> None:
    """Refuse a job that its strategy does not go with.

    Raises:
        UsageError: it does not.
    """
    checked_sgd(strategy, job, model, restarts=job.optimizer_state == "reset")
    count = job.clients or job.workers
    if count is not None:
        check_count(strategy, count, job.fan_in)


def check_count(strategy: Strategy, updates: int, fan_in: int | None) -> None:
    """Refuse a strategy that cannot combine so many updates a round.

    Args:
        strategy: what is asked for.
        updates: of a round in which all take part.
        fan_in: the most updates of one action that the user asks for.

    Raises:
        UsageError: it cannot.
    """
    if strategy.is_whole and fan_in is not None and fan_in < updates:
        raise UsageError(
            f"--fan-in {fan_in} averages groups of the {updates} updates, and strategy "
            f"{strategy.name} needs all of a round in one action: leave it out"
        )
    try:
        strategy.check_updates(updates)
    except StrategyFailed as failure:
        raise UsageError(
            f"{failure} (--clients says how many there are, and in a federation "
            "--clients-per-round how many of them a round has)"
        ) from failure


def check_least(strategy: Strategy, job: FederateJob) -> None:
    """Refuse a strategy that cannot combine as few updates as a round goes on with.

    Raises:
        UsageError: it cannot.
    """
    try:
        strategy.check_updates(max(job.least, 1))
    except StrategyFailed as failure:
        raise UsageError(
            f"{failure} (--min-clients says how few may answer in a round; without it these are "
            "--clients-per-round, and with --select poisson 1)"
        ) from failure


def check_takes_all(strategy: Strategy, job: FederateJob) -> None:
    """Refuse a strategy that chooses who trains, where `--select` does.

    Raises:
        UsageError: it leaves somebody out in a round that was looked at.
    """
    if type(strategy).participants is FedAvg.participants:
        return
    roster = list(range(min(job.asked, _LOOKED_AT)))
    for number in range(1, min(job.rounds, _LOOKED_AT) + 1):
        if chosen_participants(strategy, roster, number, job.seed) != roster:
            raise UsageError(
                f"strategy {strategy.name} chooses who trains: of {len(roster)} clients, its "
                f"participants() leaves out some in round {number}. In a federation --select "
                "chooses: let participants() return its whole roster"
            )


def check_waits(strategy: Strategy) -> None:
    """Refuse a strategy of updates that come one by one, where rounds wait for all of theirs.

    Raises:
        UsageError: it is one.
    """
    if not strategy.awaits_all:
        raise UsageError(
            f"strategy {strategy.name} takes updates as they come, and a training waits for all of "
            "a round: use disdel federate"
        )
