"""Texts that look like a secret: what stands in a file is copied, committed and shown."""

from __future__ import annotations

import math
import re
from collections import Counter

# What has a form by which it is known.
_KNOWN = {
    "a URL with a password": re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]*@", re.IGNORECASE),
    "a key of OpenWhisk": re.compile(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:\S+", re.IGNORECASE
    ),
    "an access key of AWS": re.compile(r"\b(AKIA|ASIA|AROA)[0-9A-Z]{12,}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a token": re.compile(
        r"\b(eyJ[\w-]{8,}\.[\w-]{8,}|gh[oprsu]_\w{20,}|github_pat_\w+|xox[a-z]-\S+|ya29\.\S+"
        r"|AIza[\w-]{30,}|sk-[\w-]{16,}|Bearer\s+\S+|Basic\s+\S{8,})",
        re.IGNORECASE,
    ),
    "a signed URL": re.compile(
        r"[?&](X-Amz-Signature|X-Goog-Signature|sig|token|key|password)=", re.I
    ),
}
# A word of this length and of so many bits a character was drawn, and not written.
_DRAWN = re.compile(r"(?<![\w/+])[A-Za-z0-9/+]{40}(?![\w/+])|[A-Za-z0-9+_=]{24,}")
_LEAST_BITS = 3.7
# What is called so holds a secret, whatever it looks like.
_NAMED = re.compile(
    r"(^|_)(auth|key|token|secret|password|passwd|pwd|credential|credentials|apikey)$"
)


def secret_in(text: str) -> str | None:
    """What a text looks like that should be in no file; None where it looks like none."""
    for kind, form in _KNOWN.items():
        if form.search(text):
            return kind
    for word in _DRAWN.findall(text):
        kinds = (str.isupper, str.islower, str.isdigit)
        if all(any(map(kind, word)) for kind in kinds) and _bits(word) > _LEAST_BITS:
            return "a key that was drawn at random"
        if re.fullmatch(r"[0-9a-f]{32,}", word):
            return "a key that was drawn at random"
    return None


def names_secret(name: str) -> bool:
    """Whether what has this name is a secret."""
    return _NAMED.search(name.lower().replace("-", "_")) is not None


def _bits(word: str) -> float:
    """Of a character of the word, by how often each occurs."""
    shares = [count / len(word) for count in Counter(word).values()]
    return -sum(share * math.log2(share) for share in shares)
