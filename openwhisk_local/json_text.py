"""JSON from strangers, bounded by what it costs and not only by its bytes.

Python holds its lock while it reads JSON, and a value of two bytes becomes an object of more than
sixty. So what a text is made of is counted before it is read, which takes a small part of the time.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from openwhisk_local.limits import MAX_PAYLOAD_BYTES
from openwhisk_local.replies import BODY_TOO_LARGE, DEEP, MAX_DEPTH, ApiError, malformed

# Whatever a payload may hold is read in a fraction of a second; above this it is counted.
LARGE_BYTES = MAX_PAYLOAD_BYTES
# Of a large text: arrays, objects and members, and all values together.
MAX_CONTAINERS = 300_000
MAX_VALUES = 1_000_000

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ALL_BUT_BRACKETS = bytes({*range(256)} - {*b"[]{}"})
_OPENING = frozenset(b"[{")


def parse_json(body: bytes) -> Any:
    """The JSON value of `body`.

    Raises:
        ApiError: 400 for what is no JSON or too deep, 413 for too many values.
    """
    check_cost(body)
    try:
        # Python would also read UTF-16 and UTF-32, in which brackets and quotes are not counted so.
        return json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise malformed(DEEP) from None
    except ValueError as error:
        # Of a number with very many digits Python names a remedy that is not the client's.
        raise malformed(str(error).partition("; use sys.")[0]) from None


def _without_texts(body: bytes) -> bytes:
    if body.count(b'"') - body.count(b'\\"') > 2 * MAX_VALUES:
        raise ApiError(413, BODY_TOO_LARGE)
    # Without escapes every quotation mark is the begin or the end of a text.
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    return b"".join(plain.split(b'"')[::2])


def check_surrogates(value: Any, body: bytes) -> None:
    """Refuse what Python reads but nobody else would: lone surrogates, which only escapes make."""
    if not _SURROGATE.search(body):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise malformed(str(error)) from None


def check_cost(body: bytes) -> None:
    """Count what `body` is made of, if it is JSON; raises `ApiError` 400 or 413."""
    large = len(body) > LARGE_BYTES
    openings = body.count(b"[") + body.count(b"{")
    # Counted with what texts hold, which code does; most bodies need no closer look.
    many = openings + body.count(b":") > MAX_CONTAINERS or body.count(b",") > MAX_VALUES
    if openings <= MAX_DEPTH and not (large and many):
        return
    structure = _without_texts(body)
    brackets = structure.translate(None, _ALL_BUT_BRACKETS)
    if large:
        containers = len(brackets) // 2 + structure.count(b":")
        if containers > MAX_CONTAINERS or structure.count(b",") > MAX_VALUES:
            raise ApiError(413, BODY_TOO_LARGE)
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in _OPENING else -1
        if depth > MAX_DEPTH:
            raise malformed(DEEP)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is beyond a double")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
