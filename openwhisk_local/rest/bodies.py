"""Bodies of requests and replies; large ones are few at once, and not the event loop's work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from openwhisk_local.json_text import LARGE_BYTES, check_surrogates, parse_json
from openwhisk_local.limits import MAX_BODY_BYTES
from openwhisk_local.replies import BODY_TOO_LARGE, NO_BODY, ApiError, malformed, too_large

_AT_ONCE = 4

T = TypeVar("T")

# Of large bodies; while they are read and worked on.
_places = asyncio.Semaphore(_AT_ONCE)


async def read_object(
    request: Request, *, required: bool, field: str = "", allowed_bytes: int = MAX_BODY_BYTES
) -> dict[str, Any]:
    """The JSON object in a request's body; `{}` for an empty body that is not required.

    Raises:
        ApiError: 413 above `allowed_bytes` (counted on the raw body) or with more values than the
            platform reads, 415 for another content type, 400 for anything that is not an object.
    """
    if allowed_bytes <= LARGE_BYTES or 0 <= _declared_bytes(request) <= LARGE_BYTES:
        return _object(request, await read_body(request, field, allowed_bytes), required=required)
    async with _places:
        body = await read_body(request, field, allowed_bytes)
        return await asyncio.to_thread(_object, request, body, required=required)


async def read_body(request: Request, field: str, allowed_bytes: int) -> bytes:
    """The body of a request, which messages call `field`.

    Raises:
        ApiError: it is larger than allowed (413), or the client is gone.
    """
    declared = _declared_bytes(request)
    if declared > allowed_bytes:
        raise _body_too_large(field, declared, allowed_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > allowed_bytes:
                raise _body_too_large(field, len(body), allowed_bytes)
    except ClientDisconnect:
        # Nobody reads the answer; what came of the body must not be acted upon.
        raise malformed(NO_BODY) from None
    return bytes(body)


def _declared_bytes(request: Request) -> int:
    """-1 where the request does not say."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else -1


def _body_too_large(field: str, size_bytes: int, allowed_bytes: int) -> ApiError:
    return too_large(field, size_bytes, allowed_bytes) if field else ApiError(413, BODY_TOO_LARGE)


def _object(request: Request, body: bytes, *, required: bool) -> dict[str, Any]:
    if not body:
        if required:
            raise malformed(NO_BODY)
        return {}
    content_type = request.headers.get("content-type", "application/octet-stream")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            415,
            f"The request's Content-Type [{content_type}] is not supported. "
            "Expected:\napplication/json",
            rejection=True,
        )
    value = parse_json(body)
    check_surrogates(value, body)
    if not isinstance(value, dict):
        raise malformed("Object expected")
    return value


async def beside_the_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """What `work` gives; it is done in a thread of its own where it has much to do."""
    if size_bytes <= LARGE_BYTES:
        return work()
    async with _places:
        return await asyncio.to_thread(work)


def json_array(items: Iterable[bytes], headers: dict[str, str] | None = None) -> Response:
    """An array of JSON texts, which are made as they are sent where they are many bytes."""
    parts, size = [], 0
    rest = iter(items)
    for item in rest:
        parts.append(item)
        size += len(item)
        if size > LARGE_BYTES:
            content = _pieces(parts, rest)
            return StreamingResponse(content, media_type="application/json", headers=headers)
    return Response(b"[" + b",".join(parts) + b"]", media_type="application/json", headers=headers)


async def _pieces(first: list[bytes], rest: Iterable[bytes]) -> AsyncIterator[bytes]:
    yield b"[" + b",".join(first)
    for item in rest:
        yield b"," + item
    yield b"]"
