"""A client's keys of one round: made anew from its own secret wherever it runs, and stored nowhere.

A client is a function without memory. What it must know again in the next stage of a round, it
derives (HKDF-SHA256) from a secret of 32 bytes that it is given in every activation, and from the
round. So a stage that is repeated says the same bytes again.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from disdel.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

SECRET_BYTES = 32
_LEAST_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class Session:
    """What keys are for: one attempt at one round of one run. Others have other keys."""

    run: str
    round: int
    attempt: int = 0

    def label(self, *parts: object) -> bytes:
        """An unambiguous name of something in this session."""
        texts = [str(part) for part in ("disdel-secagg-1", self.run, self.round, self.attempt)]
        texts += [str(part) for part in parts]
        return b"".join(len(text.encode()).to_bytes(4, "big") + text.encode() for text in texts)


@dataclass(frozen=True, slots=True)
class Advert:
    """What a client tells everybody: its public keys (32 bytes each), and a check of its seed.

    Attributes:
        client: whose.
        mask_public: of the key that pairwise masks are agreed with.
        channel_public: of the key that shares are encrypted with.
        seed_check: SHA-256 of its self mask's seed, by which a wrong reconstruction shows.
    """

    client: int
    mask_public: bytes
    channel_public: bytes
    seed_check: bytes


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """A client's keys in a session. They never leave its activation but in shares.

    Attributes:
        client: whose.
        session: of which.
        mask_private: its key of pairwise masks: revealed if it vanishes, and then its seed is not.
        channel_private: its key of messages to other clients, never revealed.
        self_seed: of its own mask: revealed if its update is in the sum.
        share_seed: of the coefficients by which the two are shared.
    """

    client: int
    session: Session
    mask_private: bytes
    channel_private: bytes
    self_seed: bytes
    share_seed: bytes

    @classmethod
    def derive(cls, secret: bytes, session: Session, client: int) -> ClientKeys:
        """The keys that a client has by its secret, at least 16 bytes.

        Raises:
            UsageError: it is too short, or there is no `cryptography`.
        """
        if len(secret) < _LEAST_SECRET_BYTES:
            raise UsageError(
                f"the secret of client {client} has {len(secret)} bytes, and at least "
                f"{_LEAST_SECRET_BYTES} are needed: make one with secrets.token_bytes(32)"
            )

        def derived(purpose: str) -> bytes:
            return hkdf(secret, session.label("client", client, purpose))

        return cls(
            client,
            session,
            mask_private=derived("mask"),
            channel_private=derived("channel"),
            self_seed=derived("self"),
            share_seed=derived("shares"),
        )

    def advert(self) -> Advert:
        return Advert(
            self.client,
            public_of(self.mask_private),
            public_of(self.channel_private),
            check_of(self.self_seed),
        )

    def mask_seed(self, other: Advert) -> bytes:
        """The seed of the mask that this client has in common with another."""
        return pair_seed(self.session, self.client, self.mask_private, other)

    def channel_key(self, other: Advert, *, sender: int, receiver: int) -> bytes:
        """The key of the one message that the sender of this pair sends to the receiver."""
        shared = _agree(self.channel_private, other.channel_public, other.client)
        return hkdf(shared, self.session.label("channel", sender, receiver))


def pair_seed(session: Session, client: int, mask_private: bytes, other: Advert) -> bytes:
    """The seed of the mask of two clients, from the private key of one: of both the same."""
    shared = _agree(mask_private, other.mask_public, other.client)
    return hkdf(shared, session.label("mask", *sorted((client, other.client))))


def secret_of_client(master: bytes, client: int) -> bytes:
    """A client's own secret, of one that only the clients' side of a run has."""
    return hkdf(master, b"disdel-secagg-1 client %d" % client)


def public_of(private: bytes) -> bytes:
    return bytes(_private(private).public_key().public_bytes_raw())


def check_of(seed: bytes) -> bytes:
    return hashlib.sha256(b"disdel-secagg-1 seed" + seed).digest()


def same(a: bytes, b: bytes) -> bool:
    """Whether two texts are equal, in a time that does not say where they differ."""
    return hmac.compare_digest(a, b)


def hkdf(secret: bytes, info: bytes) -> bytes:
    """32 bytes from a secret, for one purpose."""
    library = cryptography()
    return bytes(library.hkdf(secret, info))


def _agree(private: bytes, public: bytes, client: int) -> bytes:
    library = cryptography()
    try:
        return bytes(_private(private).exchange(library.X25519PublicKey.from_public_bytes(public)))
    except ValueError as error:
        raise UsageError(f"the public key of client {client} is none: {error}") from error


def _private(private: bytes) -> X25519PrivateKey:
    key: X25519PrivateKey = cryptography().X25519PrivateKey.from_private_bytes(private)
    return key


def cryptography() -> Any:
    """The module of this room that imports `cryptography`.

    Raises:
        UsageError: the package is missing where this runs.
    """
    try:
        from disdel.secure_aggregation import primitives
    except ImportError as error:
        raise UsageError(
            f"secure aggregation needs the package cryptography, and {error}: "
            "pip install 'disdel[privacy]' here and for the embedded platform; for a cluster, "
            "take a runtime image that has it"
        ) from error
    return primitives
