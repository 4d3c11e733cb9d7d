"""How updates are protected where they are added up, and how that is undone in their sum.

A sum of clipped or masked updates has two counts at its end: of updates within the bound against
those beyond it, and of their losses, in units of 2⁻¹⁶. Masks cover them as they cover the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.privacy.clipping import Clip, clip, rounding_norm
from disdel.privacy.noise import KEY_BYTES, Noise, key_of_seed
from disdel.protocol.client_messages import (
    AddedNoise,
    CombineRequest,
    SecureSession,
    TrainClientsRequest,
)
from disdel.protocol.protection import COUNTS, LOSS_UNITS
from disdel.secure_aggregation.keys import cryptography, hkdf
from disdel.secure_aggregation.masks import SignedSeed, total
from disdel.secure_aggregation.protocol import masks_left, masks_of
from disdel.store.base import Store
from disdel.strategies.exact_sum import ExactSum
from disdel.types.arrays import Tensors
from disdel.worker.secure import ClientSecrets, fix, fixed_clients, read_circle, read_records
from disdel.worker.unprotected import Unprotected, UnprotectedSum

# Words of masks, and elements of noise, that are made at once.
_BLOCK = 1 << 16


class Protection(Unprotected):
    """What the clients of an activation do to their updates, beside adding them up.

    Args:
        request: of the activation.
        secrets: the clients'.
    """

    def __init__(self, request: TrainClientsRequest, secrets: ClientSecrets) -> None:
        self._request = request
        self._secrets = secrets
        self.is_secure = request.secure is not None

    def new_sum(self, before: Tensors, exponent: int) -> ExactSum:
        return ExactSum(before, exponent, counts=COUNTS, keeps_largest=False)

    def add(
        self, sum_: ExactSum, client: int, after: Tensors, weight: float, loss_sum: float
    ) -> None:
        """Add a client's update as it may be seen.

        Raises:
            UpdateRefused: as `ExactSum.add`.
            UsageError: the clipping bound is below what fixed point adds.
        """
        clipping = self._request.clipping
        clipped = Clip(1.0, within=True)
        if clipping is not None:
            rounding = rounding_norm(sum_.elements, 2.0**-sum_.exponent)
            clipped = clip(sum_.norm(after), clipping.bound, rounding=rounding)
        counts = (1 if clipped.within else -1, round(loss_sum * LOSS_UNITS))
        sum_.add(after, weight, factor=clipped.factor, counts=counts)
        if clipping is not None and clipping.share:
            label = f"round {self._request.round}, client {client}"
            noise = Noise(self._noise_key(client), label)
            add_integers(sum_.sums[: sum_.elements], noise, 0, clipping.share * 2.0**sum_.exponent)

    def _noise_key(self, client: int) -> bytes:
        request = self._request
        assert request.clipping is not None
        if request.clipping.seed is not None:
            return key_of_seed(request.clipping.seed)
        if request.secure is not None:
            # What is repeated says the same again: two of them would have another noise each.
            return hkdf(self._secrets.keys(request.secure, client).share_seed, b"noise")
        return secrets.token_bytes(KEY_BYTES)

    def mask(self, sum_: ExactSum, clients: Sequence[int], store: Store) -> None:
        """Mask the sum of these clients' updates.

        Raises:
            AggregationError: another set of clients was fixed for the session.
        """
        session = self._request.secure
        if session is None:
            return
        shared = session.shared or ()
        fix(store, session, "shared", shared)
        keys = [self._secrets.keys(session, client) for client in clients]
        found = masks_of(keys, read_circle(store, session), shared)
        words = sum_.sums.view(np.uint64)
        for first, stop in _blocks(len(words)):
            words[first:stop] += total(found, first, stop - first)

    def sealed(self, client: int, key: str, state: bytes) -> bytes:
        own = self._state_key(client, key)
        return bytes(cryptography().sealed(own, state, key.encode()))

    def opened(self, client: int, key: str, text: bytes) -> bytes:
        """What was sealed.

        Raises:
            AggregationError: it was changed meanwhile.
        """
        own = self._state_key(client, key)
        return bytes(cryptography().opened(own, text, key.encode()))

    def _state_key(self, client: int, key: str) -> bytes:
        return hkdf(self._secrets.of(client), b"state " + key.encode())


@dataclass(frozen=True, slots=True)
class ProtectedSum(UnprotectedSum):
    """What a sum still has of masks, and the noise that it is to get."""

    masks: Sequence[SignedSeed] = ()
    noise: AddedNoise | None = None

    def unmask(self, units: NDArray[np.int64], first: int) -> None:
        """Take the masks away from elements `first` onwards, (n,), in place."""
        if self.masks:
            words = units.view(np.uint64)
            for start, stop in _blocks(len(words)):
                words[start:stop] -= total(self.masks, first + start, stop - start)

    def add_noise(self, units: NDArray[np.int64], first: int, exponent: int) -> None:
        """Add the noise of elements `first` onwards, (n,), in place."""
        if self.noise is not None:
            noise = Noise(bytes.fromhex(self.noise.key), self.noise.label)
            add_integers(units, noise, first, self.noise.deviation * 2.0**exponent)


def protected(store: Store, request: CombineRequest) -> ProtectedSum:
    """How the sums of a request are protected.

    Raises:
        AggregationError: too few shares of a mask were revealed, or wrong ones.
    """
    masks = [] if request.secure is None else _masks_left(store, request.secure)
    return ProtectedSum(masks, request.noise)


def _masks_left(store: Store, session: SecureSession) -> list[SignedSeed]:
    shared, summed = fixed_clients(store, session)
    revealed = read_records(store, session.reveal_keys)
    return masks_left(read_circle(store, session), revealed, shared, summed)


def add_integers(units: NDArray[np.int64], noise: Noise, first: int, deviation: float) -> None:
    """Add numbers `first` onwards of a noise to units, (n,), in place; `deviation` is in units."""
    for start, stop in _blocks(len(units)):
        units[start:stop] += noise.integers(first + start, stop - start, deviation)


def _blocks(count: int) -> Iterable[tuple[int, int]]:
    return ((start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))
