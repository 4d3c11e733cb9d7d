"""The stages of secure sums, as activations of the containers that train.

Before clients train, each says its public keys, and then shares of its secrets to its neighbours;
after that, those that are left say what takes the masks of the sum away. A client that does not
answer in a stage goes without from there on. What they say lies in the store: nobody can tell
single updates of it. The controller only names who is left.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from disdel.controller.federating.dropped import causes_told
from disdel.controller.invoking.invoker import all_of
from disdel.errors import ActivationFailed, RoundFailed
from disdel.protocol import client_messages
from disdel.protocol.keys import RunKeys
from disdel.secure_aggregation.graph import least_answers
from disdel.secure_aggregation.keys import SECRET_BYTES
from disdel.types.privacy import LEAST_SECURE_CLIENTS

Stage = Literal["advertise", "share", "reveal"]
# Sends a stage to the container of this number, in an attempt that it is told of.
Send = Callable[
    [int, Callable[[int], client_messages.SecureRequest]], Awaitable[client_messages.SecureReply]
]


class SecureSums:
    """The secure sums of a run, round by round.

    Args:
        keys: the run's.
        threshold: the share of a cohort that must answer to the end.
        send: has a container take a stage.
    """

    def __init__(self, keys: RunKeys, threshold: float, send: Send) -> None:
        self._keys = keys
        self._threshold = threshold
        self._send = send
        # Why a container has not answered, the last time.
        self._lost = ""

    async def open(
        self, number: int, hands: Sequence[Sequence[int]], spent: list[str]
    ) -> client_messages.SecureSession:
        """Let a cohort say its keys and share its secrets.

        Args:
            number: of the round.
            hands: the clients of each container.
            spent: keys that nobody reads after the round; those of the stages are added.

        Returns:
            The session; `shared` are the clients that may train.

        Raises:
            RoundFailed: too few are left.
        """
        session = client_messages.SecureSession(
            run=self._keys.run,
            round=number,
            attempt=0,
            threshold=self._threshold,
            claims_key=self._keys.claims,
        )
        cohort = [client for hand in hands for client in hand]
        told, advert_keys = await self._stage("advertise", hands, session, spent)
        self._check(told, cohort, number, "said their public keys")
        session = replace(session, advert_keys=advert_keys)
        shared, share_keys = await self._stage("share", _those(hands, told), session, spent)
        self._check(shared, cohort, number, "shared their secrets")
        return replace(session, share_keys=share_keys, shared=tuple(sorted(shared)))

    async def close(
        self,
        session: client_messages.SecureSession,
        hands: Sequence[Sequence[int]],
        summed: Collection[int],
        spent: list[str],
        dropped: Mapping[int, str],
    ) -> client_messages.SecureSession:
        """Let clients reveal what unmasks the sum of the updates of `summed`.

        Args:
            session: of the round.
            hands: the clients of each container, of those that may still answer.
            summed: whose updates are in the sum.
            spent: as for `open`.
            dropped: why other clients of the round have sent none.

        Raises:
            RoundFailed: too few are left.
        """
        cohort = [client for hand in hands for client in hand]
        why = f". {causes_told(dropped)}" if dropped else ""
        if len(summed) < LEAST_SECURE_CLIENTS:
            raise RoundFailed(
                f"round {session.round} failed: {len(summed)} of {len(cohort)} clients have sent "
                f"an update, and a sum of fewer than {LEAST_SECURE_CLIENTS} hides no single one"
                f"{why}"
            )
        self._check(summed, cohort, session.round, "sent an update", why)
        session = replace(session, summed=tuple(sorted(summed)))
        told, reveal_keys = await self._stage("reveal", _those(hands, summed), session, spent)
        self._check(told, cohort, session.round, "helped to unmask the sum")
        return replace(session, reveal_keys=reveal_keys)

    async def _stage(
        self,
        stage: Stage,
        hands: Sequence[Sequence[int]],
        session: client_messages.SecureSession,
        spent: list[str],
    ) -> tuple[list[int], tuple[str, ...]]:
        """The clients that have answered, and where what they said is."""
        replies = await all_of(
            self._ask(stage, worker, hand, session, spent)
            for worker, hand in enumerate(hands)
            if hand
        )
        answered = [(reply.clients, key) for reply, key in filter(None, replies)]
        told = [client for clients, _ in answered for client in clients]
        return told, tuple(sorted(key for _, key in answered))

    async def _ask(
        self,
        stage: Stage,
        worker: int,
        clients: Sequence[int],
        session: client_messages.SecureSession,
        spent: list[str],
    ) -> tuple[client_messages.SecureReply, str] | None:
        """A container's answer; None where it has none however often it is asked."""
        sent: list[str] = []

        def request(attempt: int) -> client_messages.SecureRequest:
            key = self._keys.secure(session.round, stage, worker, attempt)
            sent.append(key)
            return client_messages.SecureRequest(
                stage=stage,
                worker=worker,
                round=session.round,
                clients=tuple(clients),
                session=session,
                to_key=key,
            )

        try:
            return await self._send(worker, request), sent[-1]
        except ActivationFailed as failure:
            if failure.cause:
                # The action itself said no: others would say the same.
                raise
            self._lost = f"; container {worker}: {failure.reason or failure}"
            return None
        finally:
            spent += sent

    def _check(
        self,
        left: Collection[int],
        cohort: Collection[int],
        number: int,
        have: str,
        why: str = "",
    ) -> None:
        least = least_answers(len(cohort), self._threshold)
        if len(left) < least:
            raise RoundFailed(
                f"round {number} failed: {len(left)} of {len(cohort)} clients have {have}, and a "
                f"secure sum needs {least} (--threshold {self._threshold:.3g} of them)"
                f"{self._lost}{why}"
            )


def new_client_secret() -> str:
    """What a run's clients derive their secrets from, in hexadecimal."""
    return secrets.token_bytes(SECRET_BYTES).hex()


def _those(hands: Sequence[Sequence[int]], clients: Collection[int]) -> list[list[int]]:
    wanted = set(clients)
    return [[client for client in hand if client in wanted] for hand in hands]
