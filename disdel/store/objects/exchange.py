"""Requests to an object server, tried again where a failure passes.

The standard library's client does: a container imports it in a few milliseconds beside what its
proxy has already, and an action's bundle grows by these files alone.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, TypeAlias

from disdel.connections.patience import Patience
from disdel.connections.trust import tls_context
from disdel.errors import StoreError, StoreLost
from disdel.store.base import Buffer

_TIMEOUT_S = 15.0
_IDLE_MOST = 16
# Of an answer that is no blob: an error's XML, a page of a listing.
_TEXT_BYTES = 4 << 20
# 409: another conditional write to the same object is under way.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_CODE = re.compile(rb"<Code>([^<]{1,80})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,200})</Message>")

Body: TypeAlias = "Buffer | IO[bytes]"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has answered; `body` is empty where it was read into a buffer.

    Attributes:
        unsure: whether an earlier try of the same request may have been carried out.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    unsure: bool = False

    @property
    def code(self) -> str:
        """The name of an error, as S3 has them."""
        found = _CODE.search(self.body)
        return found[1].decode(errors="replace") if found else ""

    def __str__(self) -> str:
        found = _MESSAGE.search(self.body)
        said = found[1].decode(errors="replace") if found else ""
        return " ".join(filter(None, (f"HTTP {self.status}", self.code, said)))


@dataclass(slots=True, eq=False)
class Exchange:
    """Connections to one server, which threads may share.

    Attributes:
        secure: whether they are encrypted.
        place: host and port.
        patience: with the server.
    """

    secure: bool
    place: str
    patience: Patience
    _idle: list[http.client.HTTPConnection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tls: ssl.SSLContext | None = None

    def ask(
        self,
        method: str,
        target: Callable[[], str],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        size: int = 0,
        into: memoryview | None = None,
        again: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """The answer to a request that may be sent twice.

        Args:
            method: GET, PUT, POST or DELETE.
            target: path and query; asked for before each try, so that it can be signed anew.
            headers: further ones.
            body: of `size` bytes.
            size: of the body.
            into: filled with the answer's body where it is a 200 or 206 of just that size.
            again: whether a refusal passes, as one for the clock's sake.

        Raises:
            StoreLost: patience is at its end.
            StoreError: the server's certificate is not trusted, or `into` does not fit.
        """
        tries, unsure = self.patience.tries(), False
        while True:
            try:
                answer = self._exchange(method, target(), headers or {}, body, size, into)
            except ssl.SSLCertVerificationError as error:
                raise StoreError(
                    f"{self.patience.server} has a certificate that is not trusted "
                    f"({error.verify_message}): name its authority in SSL_CERT_FILE"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                unsure, why = True, str(error) or type(error).__name__
            else:
                if answer.status not in _PASSING and not (again is not None and again(answer)):
                    tries.succeeded()
                    return Answer(answer.status, answer.headers, answer.body, unsure)
                unsure, why = unsure or answer.status >= 500, str(answer)
            if not tries.wait(why):
                raise StoreLost(
                    f"{self.patience.server} has failed for {tries.lasted_s:.0f} s: {why}"
                )

    def _exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body | None,
        size: int,
        into: memoryview | None,
    ) -> Answer:
        connection = self._take()
        try:
            lengths = {"Content-Length": str(size)} if method in ("PUT", "POST") else {}
            if not (body is None or isinstance(body, bytes | bytearray | memoryview)):
                body.seek(0)
            # A server that refuses need not read it all, and says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body or None, {**lengths, **headers})
            response = connection.getresponse()
            answer = self._read(response, into)
            reusable = not response.will_close and response.isclosed()
        except BaseException:
            connection.close()
            raise
        self._give(connection, reusable=reusable)
        return answer

    def _read(self, response: http.client.HTTPResponse, into: memoryview | None) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        if into is not None and response.status in (200, 206):
            self._fill(into, response, headers.get("content-length"))
            return Answer(response.status, headers)
        text = response.read(_TEXT_BYTES + 1)
        if len(text) > _TEXT_BYTES:
            raise StoreError(
                f"{self.patience.server} answers with more than {_TEXT_BYTES >> 20} MB where a "
                "few lines were asked for"
            )
        return Answer(response.status, headers, text)

    def _fill(self, into: memoryview, response: http.client.HTTPResponse, told: str | None) -> None:
        if told != str(len(into)):
            raise StoreError(
                f"{self.patience.server} answers with {told} bytes where {len(into)} were asked for"
            )
        done = 0
        while done < len(into):
            count = response.readinto(into[done:])
            if not count:
                raise http.client.IncompleteRead(b"", len(into) - done)
            done += count
        response.read()

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self.secure and self._tls is None:
                self._tls = tls_context() or ssl.create_default_context()
        if self._tls is not None:
            return http.client.HTTPSConnection(self.place, timeout=_TIMEOUT_S, context=self._tls)
        return http.client.HTTPConnection(self.place, timeout=_TIMEOUT_S)

    def _give(self, connection: http.client.HTTPConnection, *, reusable: bool) -> None:
        with self._lock:
            if reusable and len(self._idle) < _IDLE_MOST:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
