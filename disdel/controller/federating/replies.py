"""What a reply about clients may say: the endpoint that it comes from may be somebody else's."""

from __future__ import annotations

import math

from disdel.protocol import client_messages


def odd_reply(
    sent: client_messages.TrainClientsRequest, reply: client_messages.TrainClientsReply
) -> str | None:
    """What is wrong with a reply that no action of ours would make; None where nothing is."""
    asked = [turn.client for turn in sent.turns]
    told = [result.client for result in reply.results]
    if told != asked[: len(told)]:
        return f"it was asked for clients {_few(asked)}, and answers for {_few(told)}"
    for turn, result in zip(sent.turns, reply.results, strict=False):
        numbers = (result.loss_sum, result.train_s, float(result.samples), float(result.steps))
        if not result.refused and not all(math.isfinite(number) for number in numbers):
            return f"what it tells of client {result.client} is no number"
        # A turn without steps sees none: it scores the model as it is.
        sees = (turn.counts or turn.stop_step > turn.start_step) and not result.refused
        if min(result.samples, result.steps) < 0 or (sees and not result.samples):
            return f"client {result.client} cannot have seen {result.samples} samples"
        if result.labels:
            classes = sent.network.model.targets[0].classes
            if len(result.labels) != classes or min(result.labels) < 0:
                return f"the labels of client {result.client} are of none of {classes} classes"
    if reply.outcome == "ok" and len(told) < len(asked) and sent.until_s is None:
        return f"it has ended with {len(told)} of {len(asked)} clients, and no time was up"
    if reply.outcome != "ok" and not told and not reply.steps:
        return "it asks to go on, and has done nothing"
    if not math.isfinite(reply.train_s) or reply.train_s < 0:
        return f"it cannot have trained for {reply.train_s} s"
    return None


def _few(clients: list[int]) -> str:
    shown = ", ".join(map(str, clients[:5]))
    return f"{shown}, …" if len(clients) > 5 else shown or "none"
