"""Signed URLs of S3 (Signature Version 4), on the host alone.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html; the example there is a
test. Requests of the host's own are signed in the same way, so that there is one way.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Keys of an account; those that expire have a token.

    Attributes:
        expires_s: when they end, in seconds since the epoch; None where that is not known.
    """

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs URLs of one moment.

    Attributes:
        credentials: whose they are.
        region: the server's.
        host: the server's name and port, as requests call it.
        time_s: the moment, in seconds since the epoch by the server's clock.
        expires_s: how long they hold from then on.
    """

    credentials: Credentials
    region: str
    host: str
    time_s: float
    expires_s: int

    @property
    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.time_s, UTC).strftime("%Y%m%dT%H%M%SZ")

    @property
    def _scope(self) -> str:
        return f"{self._stamp[:8]}/{self.region}/s3/aws4_request"

    def common(self) -> dict[str, str]:
        """What the queries of all its URLs have, but for the signed headers."""
        token = self.credentials.token
        return {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.key_id}/{self._scope}",
            "X-Amz-Date": self._stamp,
            "X-Amz-Expires": str(self.expires_s),
            **({} if token is None else {"X-Amz-Security-Token": token}),
        }

    def target(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Path and query of a request, signed; `headers` must be sent as they are."""
        asked = self._query(query or {}, headers or {})
        signature = self._signature(method, path, asked, headers or {})
        return f"{path}?{encoded_query(asked)}&X-Amz-Signature={signature}"

    def signature(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> str:
        """The signature of such a request alone."""
        return self._signature(method, path, self._query({}, headers or {}), headers or {})

    def _query(self, query: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
        return {**query, **self.common(), "X-Amz-SignedHeaders": _names(headers)}

    def _signature(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        lines = {"host": self.host, **{name.lower(): value for name, value in headers.items()}}
        request = "\n".join(
            (
                method,
                path,
                encoded_query(query),
                *(f"{name}:{lines[name].strip()}" for name in sorted(lines)),
                "",
                _names(headers),
                "UNSIGNED-PAYLOAD",
            )
        )
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join((ALGORITHM, self._stamp, self._scope, digest))
        key = f"AWS4{self.credentials.secret}".encode()
        for part in self._scope.split("/"):
            key = hmac.digest(key, part.encode(), hashlib.sha256)
        return hmac.digest(key, text.encode(), hashlib.sha256).hex()


def _names(headers: Mapping[str, str]) -> str:
    return ";".join(sorted(("host", *(name.lower() for name in headers))))


def encoded_query(query: Mapping[str, str]) -> str:
    """A query as it is signed: sorted, all but unreserved characters encoded."""
    return "&".join(f"{quote(n, safe='')}={quote(query[n], safe='')}" for n in sorted(query))
