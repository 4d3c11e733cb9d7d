"""Requests to an API host, and what their failures mean: which pass by themselves and which do not.

A request that has failed may have arrived all the same. What may be done twice is tried again here;
an invocation may not, so `OpenWhisk` decides on it.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from disdel.connections.patience import Patience, Tries
from disdel.connections.trust import is_loopback, tls_context
from disdel.errors import (
    ConnectionRefused,
    PlatformError,
    PlatformLost,
    PlatformRejected,
    UsageError,
)
from disdel.platforms.headers import retry_after_s
from disdel.platforms.openwhisk.access import ApiAccess

ACTIVATION_ID = "x-openwhisk-activation-id"
# Patience with a host that has never answered: the address may be wrong.
FIRST_CONTACT_S = 2.0
_READ_TIMEOUT_S = 20.0
_CONNECT_TIMEOUT_S = 10.0
# Servers close what is idle for 5 s or longer, and a request must not cross with that.
_IDLE_S = 4.0
# Errors by which a request cannot have arrived.
# A result of some MB and 10 MB of log, as JSON.
_MOST_BYTES = 64 << 20
_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")
# A body that is over.
_NOTHING = httpx.ByteStream(b"")
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PASSING_STATUS = frozenset({408, 425, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
_CONCURRENT = "Concurrent modification"
_MINUTE_USED_UP = "requests in the last minute"
_MINUTE_S = 60.0
# What OpenSSL says when the other side answers in plain text.
_NO_TLS = frozenset(
    {"HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER"}
)

# By which reading the JSON of a reply fails that OpenWhisk did not send.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)

Json = dict[str, Any]
T = TypeVar("T")


class Passing(Exception):
    """A failure after which the same request may be answered.

    Attributes:
        why: what happened.
        arrived: whether the platform may have received the request, and done what it says.
        reached: whether somebody has answered.
        at_least_s: how long the answer asks to wait.
        activation_id: of the activation that it began, where that much of the answer came.
    """

    def __init__(
        self,
        why: str,
        *,
        arrived: bool,
        reached: bool = True,
        at_least_s: float = 0.0,
        activation_id: str | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.arrived = arrived
        self.reached = reached
        self.at_least_s = at_least_s
        self.activation_id = activation_id


class Throttled(Passing):
    """The platform takes no more such requests for the time being."""


def _client(access: ApiAccess) -> httpx.AsyncClient:
    """A client for an API host, which the environment's proxies see only if it is another machine.

    Raises:
        UsageError: the environment names certificates or a proxy that there are not.
        ConnectionRefused: the host is no URL.
    """
    user, _, secret = access.auth.partition(":")
    try:
        url = httpx.URL(access.apihost)
    except httpx.InvalidURL as error:
        raise ConnectionRefused(f"{access.apihost} is not a URL: {error}") from error
    try:
        return httpx.AsyncClient(
            base_url=url,
            auth=(user, secret),
            verify=not access.insecure and (tls_context() or True),
            trust_env=not is_loopback(url.host),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=32, keepalive_expiry=_IDLE_S
            ),
        )
    except (ValueError, httpx.InvalidURL, ImportError):
        # What is wrong may be a password in it.
        raise UsageError(
            "the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used: it is "
            "http://[USER:PASSWORD@]HOST:PORT (for socks5://, pip install 'httpx[socks]'); "
            "NO_PROXY names hosts that are reached without it"
        ) from None


class Exchange:
    """Requests to one API host with one key.

    Args:
        access: the host and the key.
        patience: with the host.

    Attributes:
        met: whether it has ever answered as OpenWhisk does.
    """

    def __init__(self, access: ApiAccess, patience: Patience) -> None:
        self._apihost = access.apihost
        self._has_key = bool(access.auth)
        self._patience = patience
        self.met = False
        self._http = _client(access)

    async def close(self) -> None:
        await self._http.aclose()

    async def answer(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        read: Callable[[Any], T],
        limit_s: float = math.inf,
    ) -> T:
        """What `read` makes of the reply to a request that may be sent twice.

        Args:
            method: of HTTP.
            path: with its query.
            body: sent as JSON.
            read: takes the reply's JSON, and fails on what OpenWhisk does not answer.
            limit_s: how long to try, if that is less than there is patience.

        Raises:
            ConnectionRefused: nobody has ever answered, or not as OpenWhisk does.
            PlatformRejected: the platform refuses.
            PlatformLost: patience is at its end.
        """
        tries = self._patience.tries()
        while True:
            try:
                response = await self.once(method, path, body)
                value = self.read(response, read)
            except Passing as failure:
                await self.pause(tries, failure, limit_s=limit_s)
            else:
                tries.succeeded()
                return value

    async def change(
        self, method: str, path: str, body: Json | None = None, *, gone_is_fine: bool = False
    ) -> None:
        """Make or delete something, whose code in the reply, megabytes of it, stays unread.

        Raises as `answer` does.
        """
        tries = self._patience.tries()
        while True:
            try:
                response = await self.once(method, path, body, only_errors=True)
                self._check_type(response)
            except Passing as failure:
                await self.pause(tries, failure)
            else:
                tries.succeeded()
                gone = response.status_code == httpx.codes.NOT_FOUND
                if response.is_error and not (gone and gone_is_fine):
                    raise self.rejected(response)
                return

    async def once(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        read_timeout_s: float = _READ_TIMEOUT_S,
        only_errors: bool = False,
    ) -> httpx.Response:
        """The reply to a request that is sent once; with `only_errors`, another's body is not read.

        Raises:
            Passing: there is none, or one that will be another one later.
            ConnectionRefused: there cannot be one.
        """
        timeout = httpx.Timeout(read_timeout_s, connect=_CONNECT_TIMEOUT_S)
        activation_id = None
        try:
            request = self._http.build_request(method, path, json=body, timeout=timeout)
            response = sent = await self._http.send(request, stream=True)
            activation_id = response.headers.get(ACTIVATION_ID)
            try:
                if response.is_error or not only_errors:
                    response = await _read(response)
            finally:
                await response.aclose()
                # Each knows the other, and with them stays what was sent, megabytes of code.
                sent.stream = _NOTHING
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise ConnectionRefused(f"{self._apihost} cannot be asked: {error}") from error
        except httpx.HTTPError as error:
            if not self.met:
                self._refuse_tls(error)
            raise Passing(
                _in_words(error),
                arrived=not isinstance(error, _NOT_SENT),
                reached=False,
                activation_id=activation_id,
            ) from error
        if activation_id is None:
            self._check_status(response)
        return response

    def _check_status(self, response: httpx.Response) -> None:
        """Raise where the status says that it passes, or that the key is wrong."""
        status, said = response.status_code, ""
        if response.is_error:
            said = error_text(response)
        why = f"{status} {said}".strip()
        if status == httpx.codes.UNAUTHORIZED and not self.met:
            if not self._has_key:
                raise ConnectionRefused(
                    f"the OpenWhisk at {self._apihost} wants a key, and none is named: --auth, "
                    "DISDEL_AUTH, or AUTH in ~/.wskprops"
                )
            raise ConnectionRefused(
                f"the OpenWhisk at {self._apihost} does not accept the key: {said.rstrip('.')}. "
                "Check --auth (or AUTH in ~/.wskprops)"
            )
        if status == httpx.codes.TOO_MANY_REQUESTS:
            at_least_s = retry_after_s(response.headers.get("retry-after", ""))
            if _MINUTE_USED_UP in said:
                at_least_s = max(at_least_s, _minute_left_s(response))
            raise Throttled(why, arrived=False, at_least_s=at_least_s)
        if status in _PASSING_STATUS:
            raise Passing(
                why, arrived=True, at_least_s=retry_after_s(response.headers.get("retry-after", ""))
            )
        if status == httpx.codes.CONFLICT and said.startswith(_CONCURRENT):
            raise Passing(why, arrived=False)

    def _check_type(self, response: httpx.Response) -> None:
        """Raise where a reply, whose body may be unread, is a page of somebody in between."""
        kind = response.headers.get("content-type", "")
        if not response.is_error and kind.startswith("text/html"):
            raise Passing(f"{response.status_code} with {kind}", arrived=True)

    def read(self, response: httpx.Response, read: Callable[[Any], T]) -> T:
        """What `read` makes of a reply's JSON.

        Raises:
            PlatformRejected: it is an error.
            Passing: it is not what OpenWhisk answers, and was before.
            ConnectionRefused: it never was.
        """
        if response.is_error and (self.met or _is_openwhisks(response)):
            raise self.rejected(response)
        try:
            if response.is_error:
                raise ValueError
            value = read(response.json())
        except UNREADABLE as error:
            if self.met:
                raise self.unexpected(response) from error
            raise self._no_openwhisk(response) from error
        self.met = True
        return value

    async def pause(self, tries: Tries, failure: Passing, *, limit_s: float = math.inf) -> None:
        """Wait until the next try.

        Raises:
            ConnectionRefused: there is none, and nobody has ever answered.
            PlatformLost: there is none.
        """
        unmet = not self.met and not failure.reached
        if unmet:
            limit_s = min(limit_s, FIRST_CONTACT_S)
        if await tries.pause(failure.why, at_least_s=failure.at_least_s, limit_s=limit_s):
            return
        if unmet:
            hint = ""
            if failure.arrived and self._apihost.startswith("http:"):
                hint = "; if it speaks https, say so: --apihost https://…"
            raise ConnectionRefused(
                f"no OpenWhisk answers at {self._apihost} ({failure.why}); check --apihost (or "
                f"APIHOST in ~/.wskprops), or leave it out for the embedded platform{hint}"
            ) from failure
        raise PlatformLost(
            f"OpenWhisk at {self._apihost} has failed for {tries.lasted_s:.0f} s: {failure.why}"
        ) from failure

    def unexpected(self, response: httpx.Response) -> Exception:
        """What a reply is to be raised as that is no answer to its request."""
        if response.is_error:
            return self.rejected(response)
        return Passing(f"{response.status_code} with a body that is not OpenWhisk's", arrived=True)

    def rejected(self, response: httpx.Response) -> PlatformError:
        """The error that an error reply is."""
        request = response.request
        return PlatformRejected(
            f"{request.method} {request.url.copy_with(query=None)}: {response.status_code} "
            f"{error_text(response)}",
            status=response.status_code,
        )

    def _refuse_tls(self, error: httpx.HTTPError) -> None:
        """Raise where a connection failed over TLS in a way that does not pass."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ConnectionRefused(
                    f"the certificate of {self._apihost} is not trusted "
                    f"({cause.verify_message}): name its authority's file in SSL_CERT_FILE, or "
                    "leave it unchecked with --insecure"
                ) from error
            if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
                plain = "http" + self._apihost.removeprefix("https")
                raise ConnectionRefused(
                    f"{self._apihost} does not speak https ({cause.reason}): if that is meant, "
                    f"--apihost {plain}"
                ) from error
            cause = cause.__cause__ or cause.__context__

    def _no_openwhisk(self, response: httpx.Response) -> ConnectionRefused:
        what = f"{response.status_code}, no JSON"
        if location := response.headers.get("location"):
            what = f"{response.status_code}, it sends to {location}"
        elif "HTTPS" in response.text[:1000]:
            what += "; it wants https"
        return ConnectionRefused(
            f"{response.request.url.copy_with(query=None)} answers, but not as OpenWhisk does "
            f"({what}): check --apihost"
        )


def error_text(response: httpx.Response) -> str:
    """What an error reply says."""
    try:
        return str(response.json()["error"])
    except UNREADABLE:
        return " ".join(response.text[:200].split())


def _is_openwhisks(response: httpx.Response) -> bool:
    """Whether an error reply is of OpenWhisk's form."""
    try:
        fields = response.json()
    except UNREADABLE:
        return False
    return isinstance(fields, dict) and {"error", "code"} <= fields.keys()


def _in_words(error: httpx.HTTPError) -> str:
    said = str(error).rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _minute_left_s(response: httpx.Response) -> float:
    """Until the next calendar minute by the server's clock, which tells whole seconds."""
    try:
        now_s = parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except ValueError:
        now_s = time.time()
    return _MINUTE_S - now_s % _MINUTE_S


async def _read(response: httpx.Response) -> httpx.Response:
    """A response with its body, which who is at the other end may make as long as they like.

    Raises:
        Passing: it is longer than a record with its log can be.
    """
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MOST_BYTES:
            raise Passing(
                f"it answers with more than {_MOST_BYTES >> 20} MB",
                arrived=True,
                activation_id=response.headers.get(ACTIVATION_ID),
            )
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in _OF_THE_BODY]
    return httpx.Response(
        response.status_code, headers=headers, content=bytes(body), request=response.request
    )
