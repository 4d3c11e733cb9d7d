"""Typed readings of a request's query string and body, refused as OpenWhisk refuses them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from disdel.embedded.entities.names import is_path
from disdel.embedded.limits import DEFAULT_LIST, MAX_BLOCKING_MS, MAX_BODY_BYTES, MAX_LIST
from disdel.embedded.replies import (
    BAD_TIMEOUT,
    BODY_TOO_LARGE,
    NO_BODY,
    ApiError,
    bad_name_filter,
    malformed,
    malformed_query,
    too_large,
)

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
MAX_INT = (1 << 31) - 1
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that is asked for."""

    limit: int
    skip: int
    count: bool


@dataclass(frozen=True, slots=True)
class Query:
    """The query string; every getter raises `ApiError` 400 on a bad value."""

    values: Mapping[str, str]

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.values.get(name)
        if text is None:
            return default
        value = _BOOLEANS.get(text.lower())
        if value is None:
            raise malformed_query(name, f"'{text}' is not a valid Boolean value")
        return value

    def blocking_timeout_s(self) -> float:
        text = self.values.get("timeout", str(MAX_BLOCKING_MS))
        if not (_WHOLE_NUMBER.fullmatch(text) and 0 < int(text) <= MAX_BLOCKING_MS):
            raise malformed_query("timeout", BAD_TIMEOUT)
        return int(text) / 1000

    def page(self, collection: str) -> Page:
        limit = self._whole("limit", DEFAULT_LIST, collection)
        if not 0 <= limit <= MAX_LIST:
            why = f"The value '{limit}' is not in the range of 0 to {MAX_LIST} for {collection}."
            raise malformed_query("limit", why)
        skip = self._whole("skip", 0, collection)
        if skip < 0:
            why = f"The value '{skip}' is not greater than or equal to 0 for {collection}."
            raise malformed_query("skip", why)
        return Page(limit or MAX_LIST, skip, self.flag("count"))

    def instant_ms(self, name: str) -> int | None:
        text = self.values.get(name)
        if text is None:
            return None
        if not _WHOLE_NUMBER.fullmatch(text):
            why = f"Parameter is not a valid value for epoch seconds: {text}"
            raise malformed_query(name, why)
        return int(text)

    def action_name(self) -> str | None:
        """The `name` filter: an action's name, or a package's and an action's."""
        text = self.values.get("name", "")
        parts = [part for part in text.split("/") if part]
        if is_path(text) and len(parts) <= 2:
            return "/".join(parts)
        if not text.strip():
            return None
        raise malformed_query("name", bad_name_filter(text))

    def _whole(self, name: str, default: int, collection: str) -> int:
        text = self.values.get(name)
        if text is None:
            return default
        if not _WHOLE_NUMBER.fullmatch(text) or abs(int(text)) > MAX_INT:
            why = f"The value '{text}' is not an integer for {collection}."
            raise malformed_query(name, why)
        return int(text)


async def read_object(
    request: Request, *, required: bool, field: str = "", allowed_bytes: int = MAX_BODY_BYTES
) -> dict[str, Any]:
    """The JSON object in a request's body; `{}` for an empty body that is not required.

    Raises:
        ApiError: 413 above `allowed_bytes` (counted on the raw body), 415 for another content
            type, 400 for anything that is not an object.
    """
    body = await read_body(request, field, allowed_bytes)
    if not body:
        if required:
            raise ApiError(400, NO_BODY)
        return {}
    content_type = request.headers.get("content-type", "application/octet-stream")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            415,
            f"The request's Content-Type [{content_type}] is not supported. "
            "Expected:\napplication/json",
        )
    value = parse_json(body)
    if not isinstance(value, dict):
        raise malformed("Object expected")
    return value


def parse_json(body: bytes) -> Any:
    """The JSON value of a body; raises `ApiError` 400 where it is none."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        if b"\\" in body:
            # What Python reads but nobody else would: lone surrogates, which only escapes make.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise malformed(str(error)) from None
    return value


async def read_body(request: Request, field: str, allowed_bytes: int) -> bytes:
    """The body of a request; raises `ApiError` 413 above `allowed_bytes`."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > allowed_bytes:
        raise _body_too_large(field, int(declared), allowed_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > allowed_bytes:
                raise _body_too_large(field, len(body), allowed_bytes)
    except ClientDisconnect:
        # Nobody reads the answer; what came of the body must not be acted upon.
        raise ApiError(400, NO_BODY) from None
    return bytes(body)


def _body_too_large(field: str, size_bytes: int, allowed_bytes: int) -> ApiError:
    return too_large(field, size_bytes, allowed_bytes) if field else ApiError(413, BODY_TOO_LARGE)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is beyond a double")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
