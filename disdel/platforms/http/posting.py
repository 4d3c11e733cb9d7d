"""One POST to a function, and what its failures mean: which pass, and which may have arrived."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from disdel.connections.masking import masked
from disdel.connections.trust import is_loopback, tls_context
from disdel.errors import ConnectionRefused, PlatformRejected, UsageError
from disdel.platforms.headers import retry_after_s
from disdel.platforms.http.limits import HttpOptions
from disdel.platforms.http.tokens import Tokens
from disdel.protocol.calls import KEY

_CONNECT_S = 10.0
# At which a request is sent at least.
_SLOWEST_BYTES_S = 2**16
# Servers close what is idle for 5 s or longer, and a request must not cross with that.
_IDLE_S = 4.0
# Errors by which a request cannot have arrived.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_DENIED = frozenset({401, 403})
# Of no function: where there was one, it is being deployed again.
_NOT_THERE = frozenset({404, 405})


class Failed(Exception):
    """A request without a usable answer, after which the same may be answered.

    Attributes:
        arrived: whether the function may have been called.
        throttled: whether it is only that no more calls are taken now.
        reached: whether somebody has answered.
        at_least_s: how long the answer asks to wait.
    """

    def __init__(
        self,
        why: str,
        *,
        arrived: bool,
        throttled: bool = False,
        reached: bool = True,
        at_least_s: float = 0.0,
    ) -> None:
        super().__init__(why)
        self.arrived = arrived
        self.throttled = throttled
        self.reached = reached
        self.at_least_s = at_least_s


class Posting:
    """Requests to functions that are alike.

    Args:
        options: with their addresses and tokens.
        insecure: certificates are not checked, and tokens may travel in the clear.

    Raises:
        UsageError: an address is no URL, or a token is missing or would travel in the clear.
    """

    def __init__(self, options: HttpOptions, *, insecure: bool) -> None:
        self._tokens = Tokens(options)
        self.met = False
        for url in options.urls:
            _check(url, secret=self._tokens.bring_any and not insecure)
        hosts = {httpx.URL(url).host for url in options.urls}
        self._http = httpx.AsyncClient(
            verify=not insecure and (tls_context() or True),
            trust_env=not all(map(is_loopback, hosts)),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=64, keepalive_expiry=_IDLE_S
            ),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def post(
        self, url: str, text: str, *, key: str, read_s: float, most_bytes: int
    ) -> dict[str, Any]:
        """The JSON that answers a request, which is sent once, and again where a token has ended.

        Args:
            url: of the function.
            text: JSON.
            key: by which the function knows a request that it has had before.
            read_s: how long its answer may take.
            most_bytes: the longest answer that is read.

        Raises:
            Failed: there is none.
            ConnectionRefused: the token is refused, or there is no function of disdel's.
            PlatformRejected: it does not take such a request.
        """
        while True:
            try:
                status, headers, data = await self._once(url, text, key, read_s, most_bytes)
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
                raise ConnectionRefused(f"{masked(url)} cannot be asked: {error}") from error
            except TimeoutError as error:
                raise Failed(
                    f"its answer was not whole after {read_s:g} s", arrived=True, reached=False
                ) from error
            except httpx.HTTPError as error:
                said = str(error).rstrip(".")
                raise Failed(
                    f"{type(error).__name__}: {said}" if said else type(error).__name__,
                    arrived=not isinstance(error, _NOT_SENT),
                    reached=False,
                ) from error
            if status in _DENIED and self._tokens.renew():
                continue
            return self._read(url, status, headers, data, len(text))

    async def _once(
        self, url: str, text: str, key: str, read_s: float, most_bytes: int
    ) -> tuple[int, httpx.Headers, bytes]:
        headers = {"Content-Type": "application/json", KEY: key, **await self._tokens.headers()}
        timeout = httpx.Timeout(read_s, connect=_CONNECT_S)
        content = text.encode()
        # httpx counts anew with each byte that arrives.
        async with (
            asyncio.timeout(read_s + len(content) / _SLOWEST_BYTES_S),
            self._http.stream(
                "POST", url, content=content, headers=headers, timeout=timeout
            ) as response,
        ):
            data = bytearray()
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > most_bytes:
                    raise Failed(f"its answer is longer than {most_bytes} bytes", arrived=True)
            return response.status_code, response.headers, bytes(data)

    def _read(
        self, url: str, status: int, headers: httpx.Headers, data: bytes, sent_bytes: int
    ) -> dict[str, Any]:
        reply = _object(data)
        said = str(reply["refused"]) if "refused" in reply else _text(data)
        ours = "disdel" in reply
        why = f"{status} {said}".strip()
        if status in _DENIED:
            raise ConnectionRefused(
                f"{masked(url)} refuses the token ({why}): name one with token_env, token_file or "
                "token_command, or the function's own with key_env"
            )
        if status == httpx.codes.TOO_MANY_REQUESTS or (status == 503 and ours):
            raise Failed(
                why,
                arrived=False,
                throttled=True,
                at_least_s=retry_after_s(headers.get("retry-after", "")),
            )
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            raise PlatformRejected(
                f"{masked(url)} does not take a request of {sent_bytes} bytes: {why}", status=status
            )
        if ours:
            self.met = True
            return reply
        if not self.met and (status < 400 or status in _NOT_THERE):
            where = headers.get("location")
            what = f"it sends to {masked(where)}" if where else f"{status}, which is not its answer"
            raise ConnectionRefused(
                f"{masked(url)} answers, but not as a function of disdel's does ({what}): check "
                "the url, or deploy what `disdel export` writes"
            )
        # Whoever stands before the function, after it was called or not. A 503 is mostly that it
        # has no room.
        raise Failed(
            why,
            arrived=status not in _NOT_THERE,
            throttled=status == httpx.codes.SERVICE_UNAVAILABLE,
            at_least_s=retry_after_s(headers.get("retry-after", "")),
        )


def _check(url: str, *, secret: bool) -> None:
    try:
        parsed = httpx.URL(url)
        wrong = parsed.scheme not in ("http", "https") or not parsed.host
    except httpx.InvalidURL:
        wrong = True
    if wrong:
        raise UsageError(f"url {masked(url)} is no address of the form https://HOST/PATH")
    if parsed.userinfo:
        raise UsageError(
            f"url {masked(url)} has a password in it, which reports would show: name a token with "
            "token_env, token_file or token_command"
        )
    if secret and parsed.scheme == "http" and not is_loopback(parsed.host):
        raise UsageError(
            f"the token would travel to {masked(url)} in the clear: use https, or allow that with "
            "--insecure"
        )


def _object(data: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) else {}


def _text(data: bytes) -> str:
    return " ".join(data[:200].decode(errors="replace").split())
