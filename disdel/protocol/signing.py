"""Signed requests and replies, for endpoints that others than their controller can reach.

A request's signature is an HMAC-SHA256, by a key of its run and endpoint, over all of its arguments
(run, round, worker, store and invocation among them), the endpoint and an expiry. A reply's is over
the reply and the signature of its request, so that it answers that and no other.
The invocation's token is the nonce: an activation claims it in the store that all processes share,
once the signature has passed, and it stays there as long as the run. What is sent a second time is
answered by who has claimed it, and does nothing (`worker/context.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from disdel.errors import RequestRefused

SIGNATURE = "signature"
# Of the code that a request brings or names, where an endpoint takes code with requests.
CODE_SIGNATURE = "code_signature"
KEY_BYTES = 32
# Of the deployment itself, not of a request: parameters that an action was made with.
_OF_THE_ACTION = frozenset({SIGNATURE, CODE_SIGNATURE, "client_secret"})
_NO_NONCE = frozenset({"probe"})
# What an endpoint's clock may be ahead of the controller's.
_SKEW_S = 60.0
_PURPOSES = {
    "request": b"disdel request 1",
    "reply": b"disdel reply 1",
    "run": b"disdel run 1",
    "code": b"disdel code 1",
}
_EXACT = 1 << 53


def key_of_run(secret: bytes, run: str, endpoint: str = "") -> bytes:
    """The key of one run at one endpoint, of the secret that its controller shares with that.

    Who has it knows neither the secret nor the key of another endpoint.
    """
    text = _PURPOSES["run"] + b" " + canonical([run, endpoint])
    return hmac.digest(secret, text, hashlib.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs requests to an endpoint, and checks what it replies.

    Attributes:
        key: of the run at that endpoint.
        endpoint: its name among several; "" where it is the only one.
    """

    key: bytes = field(repr=False)
    endpoint: str = ""

    def signed(self, arguments: Mapping[str, object], *, lasts_s: float) -> dict[str, object]:
        """The arguments with their signature, which holds for `lasts_s`."""
        expires_s = math.ceil(time.time() + lasts_s)
        told = {"endpoint": self.endpoint, "expires_s": expires_s}
        mac = _mac(self.key, "request", told, _covered(arguments))
        return {**arguments, SIGNATURE: {**told, "mac": mac}}

    def of_code(self, digest: str) -> str:
        """The signature of code that requests of the run may have done there."""
        return _mac(self.key, "code", self.endpoint, digest)

    def check_reply(self, reply: object, arguments: Mapping[str, object]) -> dict[str, object]:
        """A reply to signed arguments, without its signature.

        Raises:
            RequestRefused: it is none, or is not signed by this endpoint for that request.
        """
        if not isinstance(reply, dict):
            raise RequestRefused("its reply is no JSON object")
        mac = reply.get(SIGNATURE)
        plain = {name: value for name, value in reply.items() if name != SIGNATURE}
        try:
            expected = _mac(self.key, "reply", _mac_of(arguments), plain)
        except ValueError:
            raise RequestRefused("its reply holds what is no JSON (NaN or infinity)") from None
        if not _same(mac, expected):
            how = "is not signed" if mac is None else "is not signed for this request by its key"
            raise RequestRefused(f"its reply {how}")
        return plain


def check_request(
    arguments: Mapping[str, object],
    key_of: Callable[[str, str], bytes],
    *,
    endpoint: str = "",
    now_s: float | None = None,
) -> Callable[[dict[str, object]], dict[str, object]]:
    """What signs the reply to a request whose signature is right.

    Args:
        arguments: of the request.
        key_of: the key of a run at an endpoint, by their names.
        endpoint: this one's name; "" for one that has none, and goes by any.
        now_s: seconds since the epoch.

    Raises:
        RequestRefused: the request is not signed, by another key, for another endpoint, or too old.
    """
    told = arguments.get(SIGNATURE)
    if not isinstance(told, dict):
        raise RequestRefused(
            "this endpoint takes signed requests alone, and this one has no signature: give the "
            "controller the endpoint's key (--signing-key FILE)"
        )
    key = key_of(str(arguments.get("run")), str(told.get("endpoint")))
    said = {name: told.get(name) for name in ("endpoint", "expires_s")}
    try:
        expected = _mac(key, "request", said, _covered(arguments))
    except ValueError:
        raise RequestRefused("a request holds what is no JSON (NaN or infinity)") from None
    if not _same(told.get("mac"), expected):
        raise RequestRefused(
            "the signature of this request is not by this endpoint's key, or something of the "
            "request was changed: compare the key files of controller and endpoint"
        )
    if endpoint and said["endpoint"] != endpoint:
        named = f"is for the endpoint {said['endpoint']}" if said["endpoint"] else "names none"
        raise RequestRefused(
            f"this request {named}, and this endpoint is {endpoint}: give it the same name in the "
            "fabric file and in its DISDEL_ENDPOINT, or deploy it without that"
        )
    late_s = (time.time() if now_s is None else now_s) - float(cast(Any, said["expires_s"]))
    if late_s > _SKEW_S:
        raise RequestRefused(
            f"this request has expired {late_s:.0f} s ago: it is sent again, or this endpoint's "
            "clock is ahead"
        )
    if arguments.get("task") not in _NO_NONCE and not arguments.get("invocation"):
        raise RequestRefused("this request has no invocation, so it could be sent again and again")

    def sign(reply: dict[str, object]) -> dict[str, object]:
        return {**reply, SIGNATURE: _mac(key, "reply", expected, reply)}

    return sign


def check_code(arguments: Mapping[str, object], secret: bytes, digest: str) -> None:
    """Refuse code that was not signed for the run of a request whose signature is right.

    Raises:
        RequestRefused: it was not.
    """
    told = cast(Mapping[str, Any], arguments[SIGNATURE])
    endpoint = str(told["endpoint"])
    key = key_of_run(secret, str(arguments.get("run")), endpoint)
    if not _same(arguments.get(CODE_SIGNATURE), _mac(key, "code", endpoint, digest)):
        raise RequestRefused("the code of this request is not signed by this endpoint's key")


def canonical(value: object) -> bytes:
    """JSON that is the same on both sides of a platform, which may write numbers its own way.

    Raises:
        ValueError: it holds a number that JSON has none for.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    # 1.0 comes back as 1 from some.
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def _covered(arguments: Mapping[str, object]) -> dict[str, object]:
    """What of the arguments is signed: all but what the platform and the deployment add."""
    return {
        name: value
        for name, value in arguments.items()
        if name not in _OF_THE_ACTION and not name.startswith("__ow_")
    }


def _mac_of(arguments: Mapping[str, object]) -> object:
    told = arguments.get(SIGNATURE)
    return told.get("mac") if isinstance(told, dict) else None


def _mac(key: bytes, purpose: str, context: object, content: object) -> str:
    digest = hashlib.sha256(canonical(content)).hexdigest()
    text = _PURPOSES[purpose] + b" " + canonical([context, digest])
    return hmac.digest(key, text, hashlib.sha256).hex()


def _same(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())
