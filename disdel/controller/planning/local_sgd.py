"""The SGD that clients train with, for strategies that take their steps for its."""

from __future__ import annotations

from disdel.errors import UsageError
from disdel.runtimes.rates import SGD_RATE
from disdel.strategies.base import LocalSgd, Strategy
from disdel.types import ModelSpec, RateSchedule
from disdel.types.learning import LearningJob

# What the rule of `torch.optim.SGD` may have beside rate and momentum, at these values: the first
# adds to the gradients themselves.
_PLAIN: dict[str, float] = {"dampening": 0, "nesterov": False, "maximize": False}


def local_sgd(job: LearningJob, model: ModelSpec, *, restarts: bool) -> LocalSgd | None:
    """What clients train with, where that is SGD; None where it is something else.

    Args:
        job: names the optimizer and its rate.
        model: the network, which may have an optimizer of its own.
        restarts: whether it begins anew each round.
    """
    chosen = model.optimizer(job.optimizer)
    if chosen.name != "sgd":
        return None
    schedule: RateSchedule = job.rate_schedule
    rate, momentum = SGD_RATE, 0.0
    is_constant = schedule.shape == "constant" and not schedule.warmup
    if chosen.beside_code:
        rules = [group.settings for group in chosen.groups]
        if not rules or any(rule != rules[0] for rule in rules):
            return None
        [rule, *_] = rules
        if any(rule.get(name, plain) != plain for name, plain in _PLAIN.items()):
            return None
        rate, momentum = float(rule.get("lr", rate)), float(rule.get("momentum", 0))
        is_constant = is_constant and not chosen.has_schedule
    return LocalSgd(
        rate=job.learning_rate or rate,
        momentum=momentum,
        is_constant=is_constant,
        restarts=restarts,
    )


def checked_sgd(
    strategy: Strategy, job: LearningJob, model: ModelSpec, *, restarts: bool
) -> LocalSgd | None:
    """What clients train with, if it is SGD.

    Raises:
        UsageError: the strategy needs SGD, and it is not, or is another one.
    """
    sgd = local_sgd(job, model, restarts=restarts)
    if not strategy.needs_sgd:
        return sgd
    if sgd is None:
        raise UsageError(
            f"strategy {strategy.name} takes a client's steps for those of SGD, and they are "
            f"{model.optimizer(job.optimizer).name}'s: add --optimizer sgd"
        )
    strategy.check_sgd(sgd)
    return sgd
