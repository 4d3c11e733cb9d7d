"""The entry points of the deployed actions: a JSON object in, a JSON object out.

An answer with a key `error` is OpenWhisk's "application error": it ends the activation without
losing the container. What is not a `DisdelError` goes up and becomes an error with a traceback in
the activation's log.

Modules of some tasks only are imported by those: a cold start waits for all that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from disdel.errors import DisdelError
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import (
    Claimed,
    CollectRequest,
    EvaluateRequest,
    ScoreRequest,
    TrainRequest,
    from_json,
    to_json,
)
from disdel.types.units import MIB
from disdel.worker.context import ClaimedElsewhere, Context, activation_context
from disdel.worker.trust import admitted
from openwhisk_local.machine.allocator import give_back_freed_memory

if TYPE_CHECKING:
    from disdel.worker.client_turns import RoundState
    from disdel.worker.own_data import OwnData

Args = Mapping[str, object]
TaskReply = dict[str, object]


class TrainAction:
    """What the `train` action runs: segments, and scores of the average on the same container.

    Where collectWeights has no container of its own, it averages as well.

    One instance lives as long as its container and keeps the compiled network and the shards.
    """

    def __init__(self) -> None:
        from disdel.worker.network import TrainerCache
        from disdel.worker.shards import ShardCache

        self._trainers = TrainerCache()
        self._shards = ShardCache()
        self._states: RoundState | None = None
        self._own_data: OwnData | None = None

    def __call__(self, args: Args) -> TaskReply:
        return answered(args, self._run)

    def _run(self, args: Args, context: Context) -> object:
        if args.get("task") == "score":
            from disdel.worker.score import score_slice

            score = from_json(ScoreRequest, args)
            return score_slice(score, context, self._trainers, self._shards)
        if args.get("task") in _JOINS:
            return _join(args, context)
        if args.get("task") == "secure":
            from disdel.protocol.client_messages import SecureRequest
            from disdel.worker.secure import secure_stage

            return secure_stage(from_json(SecureRequest, args), context)
        if args.get("task") == "clients":
            from disdel.protocol.client_messages import TrainClientsRequest
            from disdel.worker.client_turns import RoundState
            from disdel.worker.clients import train_clients
            from disdel.worker.own_data import OwnData

            self._states = self._states or RoundState()
            self._own_data = self._own_data or OwnData()
            turns = from_json(TrainClientsRequest, args)
            return train_clients(
                turns, context, self._trainers, self._shards, self._states, self._own_data
            )
        from disdel.worker.train import train_segment

        segment = from_json(TrainRequest, args)
        return train_segment(segment, context, self._trainers, self._shards)


def collect_weights(args: Args) -> TaskReply:
    """What the `collectWeights` action runs."""
    reply = answered(args, _join)
    # It waits for most of its time; what its code took while it was unpacked is a part of it.
    give_back_freed_memory()
    return reply


# By which a round's updates become the next state.
_JOINS = ("collect", "combine")


def _join(args: Args, context: Context) -> object:
    if args.get("task") == "combine":
        from disdel.protocol.client_messages import CombineRequest
        from disdel.worker.combine import combine

        return combine(from_json(CombineRequest, args), context)
    from disdel.worker.collect import collect

    return collect(from_json(CollectRequest, args), context)


class EvaluateAction:
    """What the `evaluate` action runs: a model file over samples, to class probabilities.

    One instance lives as long as its container and keeps the loaded model.
    """

    def __init__(self) -> None:
        from disdel.worker.model_file import PredictorCache

        self._predictors = PredictorCache()

    def __call__(self, args: Args) -> TaskReply:
        return answered(args, self._run)

    def _run(self, args: Args, context: Context) -> object:
        from disdel.worker.evaluate import evaluate

        return evaluate(from_json(EvaluateRequest, args), context, self._predictors)


def _probe(_args: Args, context: Context) -> object:
    from disdel.worker.probe import probe

    return probe(context)


def answered(args: Args, run: Callable[[Args, Context], object]) -> TaskReply:
    """The answer of an action that runs `run` in the activation's context."""
    try:
        signed = admitted(args)
    except DisdelError as error:
        return _error(error)
    try:
        with activation_context(args) as context:
            if args.get("task") == "probe":
                run = _probe
            reply = signed(context.store.bring(_done(args, context, run)))
            context.answers(reply)
            return reply
    except ClaimedElsewhere as elsewhere:
        return signed(to_json(Claimed(claimed_by=elsewhere.claimed_by)))
    except DisdelError as error:
        return signed(_error(error))


def _done(args: Args, context: Context, run: Callable[[Args, Context], object]) -> TaskReply:
    try:
        reply = to_json(run(args, context))
    except DisdelError as error:
        return _error(error)
    _log(args, reply, context)
    return reply


def _error(error: DisdelError) -> TaskReply:
    return {"error": {"kind": error.kind, "message": str(error)}}


def _log(args: Args, reply: TaskReply, context: Context) -> None:
    """One line in the activation's log, for whoever reads it without the run's report."""
    said = {**args, "run": RunKeys(str(args["run"])).run_id}
    names = [
        f"{name} {said[name]}"
        for name in ("run", "task", "round", "worker", "client", "segment")
        if said.get(name) is not None
    ]
    steps = ""
    if "results" in reply:
        steps = f", {len(reply['results'])} of {len(args['turns'])} clients"  # type: ignore[arg-type]
    elif "next_step" in reply:
        steps = f", steps {args['start_step']} to {reply['next_step']} of {args['stop_step']}"
    limit_bytes = context.memory.use().limit_bytes
    limit = "" if limit_bytes is None else f" of {limit_bytes // MIB}"
    print(  # noqa: T201 - the activation's log
        f"disdel: {' '.join(names)}: {reply.get('outcome', 'ok')}{steps}, "
        f"at most {context.peak_mb()}{limit} MB in use",
        flush=True,
    )
