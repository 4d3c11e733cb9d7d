"""What an activation says of itself in its reply."""

from __future__ import annotations

from dataclasses import dataclass, replace

from disdel.protocol import client_messages, messages
from disdel.protocol.flower import FlowerReply
from disdel.types import Phases, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an activation said of itself, in the words of `Activation`."""

    peak_mb: int | None = None
    working_set_mb: int | None = None
    framework_anonymous_mb: int | None = None
    framework_mapped_mb: int | None = None
    steps: int = 0
    train_s: float | None = None
    phases: Phases | None = None
    precision: Precision | None = None


def measured_of(
    request: object,
    reply: messages.TrainReply
    | client_messages.TrainClientsReply
    | client_messages.SecureReply
    | messages.ScoreReply
    | messages.CollectReply
    | messages.EvaluateReply
    | FlowerReply,
) -> Measured:
    """What the reply to a request says of its activation."""
    measured = Measured(
        peak_mb=reply.peak_mb, working_set_mb=reply.working_set_mb, phases=reply.phases
    )
    if isinstance(reply, client_messages.TrainClientsReply):
        return replace(
            measured,
            framework_anonymous_mb=reply.framework_anonymous_mb,
            framework_mapped_mb=reply.framework_mapped_mb,
            steps=reply.steps,
            train_s=reply.train_s,
        )
    if isinstance(reply, messages.TrainReply) and isinstance(request, messages.TrainRequest):
        return replace(
            measured,
            framework_anonymous_mb=reply.framework_anonymous_mb,
            framework_mapped_mb=reply.framework_mapped_mb,
            steps=reply.next_step - request.start_step,
            train_s=reply.train_s,
            precision=reply.precision,
        )
    return measured
