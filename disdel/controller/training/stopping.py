"""When a run ends before its last round, and which round its model is of: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence

from disdel.controller.planning.planning import scores_first
from disdel.strategies.base import Strategy
from disdel.types import Plan, RoundReport, TrainJob, Validation
from disdel.types.words import counted


def is_scored(number: int, plan: Plan) -> bool:
    """Whether round `number` of a plan is scored; the last one always is."""
    return number % plan.score_every == 0 or number == plan.rounds


def is_scored_later(number: int, plan: Plan, job: TrainJob, strategy: Strategy) -> bool:
    """Whether the score of a round is made by its workers before they train the next one."""
    return scores_first(job, strategy) and is_scored(number, plan) and number < plan.rounds


def rounds_to(target: float | None, rounds: Sequence[RoundReport]) -> int | None:
    """The first of the rounds with such an accuracy; None where there is none, or no target."""
    if target is None:
        return None
    reached = (e.round for e in rounds if e.accuracy is not None and e.accuracy >= target)
    return next(reached, None)


def best_round(rounds: Sequence[RoundReport]) -> int | None:
    """The first of the rounds with the least validation loss; None when none was scored."""
    scored = [(entry.round, entry.loss) for entry in rounds if entry.loss is not None]
    return min(scored, key=lambda entry: entry[1])[0] if scored else None


def reason_to_stop(validation: Validation, rounds: Sequence[RoundReport]) -> str | None:
    """Why the run should end after these rounds, or None."""
    scored = [entry for entry in rounds if entry.loss is not None]
    best = best_round(rounds)
    if not scored or best is None:
        return None
    number, accuracy = scored[-1].round, scored[-1].accuracy
    target, patience = validation.target_accuracy, validation.patience
    if target is not None and accuracy is not None and accuracy >= target:
        return f"validation accuracy {accuracy:.4f} has reached the target of {target:g}"
    if patience is not None and number - best >= patience:
        since = counted(number - best, "round")
        return f"no lower validation loss than after round {best} in {since}"
    return None


def model_round(validation: Validation, rounds: Sequence[RoundReport]) -> int | None:
    """Whose average becomes the model: the best round's with patience, else the last one's."""
    if validation.patience is not None:
        return best_round(rounds)
    return rounds[-1].round if rounds else None
