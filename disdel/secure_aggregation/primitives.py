"""What is used of `cryptography`: in one place, which is imported where it is needed."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from disdel.errors import AggregationError

__all__ = ["X25519PrivateKey", "X25519PublicKey", "hkdf", "keystream", "opened", "sealed"]

CIPHER_BLOCK_BYTES = 64
# A key seals one message, and makes one stream.
_NONCE = bytes(12)


def hkdf(secret: bytes, info: bytes) -> bytes:
    return bytes(HKDF(SHA256(), length=32, salt=None, info=info).derive(secret))


def sealed(key: bytes, text: bytes, named: bytes) -> bytes:
    """Encrypted and authenticated, with what it is `named`; one message a key."""
    return bytes(ChaCha20Poly1305(key).encrypt(_NONCE, text, named))


def opened(key: bytes, text: bytes, named: bytes) -> bytes:
    """What was sealed.

    Raises:
        AggregationError: it is not what was sealed with this key under this name.
    """
    try:
        return bytes(ChaCha20Poly1305(key).decrypt(_NONCE, text, named))
    except InvalidTag as error:
        raise AggregationError(f"the message {named!r} was changed on its way") from error


def keystream(key: bytes, first_block: int, size: int) -> bytes:
    """So many bytes of ChaCha20's stream, from a block of 64 bytes on (2³² blocks at most)."""
    start = first_block.to_bytes(4, "little") + _NONCE
    return bytes(Cipher(ChaCha20(key, start), mode=None).encryptor().update(bytes(size)))
