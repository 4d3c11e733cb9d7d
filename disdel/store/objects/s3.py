"""The store on an S3-compatible server, for who has its keys: the controller.

Its address has the form `FORM`. Activations never get the keys: each is lent URLs for its own
objects (`lent.py`). S3 has no lifetime for single objects, so a run of which nothing was written
for `lifetime_s` is removed by the next controller.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, quote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from disdel.connections.patience import Patience, Tell, tell_nobody
from disdel.errors import ConnectionRefused, StoreError, StoreLost
from disdel.store.base import LIFETIME_S, SHORT_PATIENCE_S
from disdel.store.lending import Needs
from disdel.store.objects.credentials import find_credentials, lasting_s
from disdel.store.objects.exchange import Answer, Exchange
from disdel.store.objects.lent import lent_address
from disdel.store.objects.presigning import Signer, encoded_query
from disdel.store.objects.store import CREATE_HEADERS, METHODS, Deed, ObjectStore, named

FORM = "s3://BUCKET[/PREFIX][?endpoint=https://HOST&region=NAME&profile=NAME&style=path|virtual]"
_OPTIONS = frozenset({"endpoint", "region", "profile", "style"})
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Of a request of this process's own, signed just before it is sent.
_OWN_EXPIRES_S = 900
# S3 signs for no longer.
_LONGEST_S = 7 * 24 * 3600
_SKEW_S = 30.0
_DENIED = 403
_PAGE = 1000
_ALIVE = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where objects are: `host` has the port, `path` ends in a slash and is encoded as in URLs."""

    secure: bool
    host: str
    path: str
    region: str
    bucket_path: str
    prefix: str
    profile: str | None

    @property
    def base(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}{self.path}"


def place_of(url: str, environ: Mapping[str, str] = os.environ) -> Place:
    """Where the objects of an address are.

    Raises:
        ConnectionRefused: it is none, or has keys in it.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        parts, pairs = urlsplit("s3:"), []
    options = dict(pairs)
    if "@" in parts.netloc:
        raise ConnectionRefused(
            "keys of an object store do not belong in its address: set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, and write {FORM}"
        )
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ConnectionRefused(f"an object store has no option {unknown[0][:40]}: write {FORM}")
    if len(options) < len(pairs):
        raise ConnectionRefused(f"an object store's address says an option twice: write {FORM}")
    endpoint = urlsplit(options.get("endpoint") or environ.get("AWS_ENDPOINT_URL_S3") or "")
    bucket, style = parts.netloc, options.get("style")
    region = options.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if (
        _BUCKET.fullmatch(bucket) is None
        or style not in (None, "path", "virtual")
        or parts.fragment
        or (endpoint.geturl() and (endpoint.scheme not in ("http", "https") or not endpoint.netloc))
        or "@" in endpoint.netloc
    ):
        raise ConnectionRefused(f"{parts.scheme}://{bucket[:63]} is no object store: write {FORM}")
    region = region or "us-east-1"
    # A bucket with dots is no name that a certificate of the server's covers.
    virtual = style == "virtual" or (style is None and not endpoint.netloc and "." not in bucket)
    host = endpoint.netloc or f"s3.{region}.amazonaws.com"
    root = "/" if virtual else f"/{bucket}/"
    prefix = parts.path.strip("/")
    prefix = f"{prefix}/" if prefix else ""
    return Place(
        secure=endpoint.scheme != "http",
        host=f"{bucket}.{host}" if virtual else host,
        path=f"{root}{quote(prefix)}",
        region=region,
        bucket_path=root,
        prefix=prefix,
        profile=options.get("profile"),
    )


class S3Store(ObjectStore):
    """The store at an address of the form above.

    Args:
        url: the address.
        patience_s: how long a request that fails is tried again.
        lifetime_s: after which a run of which nothing was written may be removed.
        tell: told of outages.
        environ: has the keys, or says where they are.

    Attributes:
        address: the URL without its options.

    Raises:
        ConnectionRefused: it is no such address, or there are no keys.
    """

    lends = True
    about = (
        "an object store with conditional writes, ranges and listings; actions get signed URLs and "
        "no keys"
    )

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = SHORT_PATIENCE_S,
        lifetime_s: int = LIFETIME_S,
        tell: Tell = tell_nobody,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._place = place_of(url, environ)
        self._credentials = find_credentials(self._place.profile, environ)
        self._ahead_s = 0.0
        self.address = url.partition("?")[0].rstrip("/")
        self.lifetime_s = lifetime_s
        self.patience = Patience(
            f"the object store {self.address} at {self._place.host}", patience_s, tell=tell
        )
        self.exchange = Exchange(self._place.secure, self._place.host, self.patience)

    def _signer(self, expires_s: int = _OWN_EXPIRES_S) -> Signer:
        return Signer(
            credentials=self._credentials(),
            region=self._place.region,
            host=self._place.host,
            time_s=time.time() + self._ahead_s,
            expires_s=expires_s,
        )

    def _path(self, name: str) -> str:
        return f"{self._place.path}{quote(name, safe='')}"

    def target(self, deed: Deed, name: str) -> str:
        headers = CREATE_HEADERS if deed == "create" else {}
        return self._signer().target(METHODS[deed], self._path(name), headers=headers)

    def passes(self, answer: Answer) -> bool:
        """Whether it was refused for the clock's sake: the server's is learnt, and signed by."""
        told = answer.headers.get("date")
        if answer.status != _DENIED or told is None:
            return False
        try:
            ahead_s = parsedate_to_datetime(told).timestamp() - time.time()
        except (TypeError, ValueError):
            return False
        if abs(ahead_s - self._ahead_s) < _SKEW_S:
            return False
        self._ahead_s = ahead_s
        return True

    def lend(self, needs: Needs) -> dict[str, object]:
        """What the arguments of an activation must have so that it can do what it needs.

        Raises:
            StoreLost: the keys end before it may.
        """
        wanted_s = min(_LONGEST_S, needs.lasts_s)
        credentials = self._credentials()
        left_s = lasting_s(credentials)
        if left_s is not None and left_s < wanted_s:
            raise StoreLost(
                f"the keys of {self.address} end in {max(0.0, left_s):.0f} s, and an activation "
                f"may take {wanted_s:.0f} s: renew them (AWS_SESSION_TOKEN), or shorten the "
                "actions' time limit"
            )
        signer = self._signer(max(1, int(wanted_s)))
        deeds: dict[str, set[Deed]] = {}
        for names, allowed in (
            (needs.reads, ("get",)),
            (needs.writes, ("get", "put", "delete")),
            (needs.creates, ("get", "create", "delete")),
            ((named(*pair) for pair in needs.looks), ("get",)),
            ((named(*pair) for pair in needs.fields), ("get", "put", "create", "delete")),
        ):
            for name in names:
                deeds.setdefault(name, set()).update(allowed)  # type: ignore[arg-type]
        signatures: dict[str, dict[Deed, str]] = {
            name: {
                deed: signer.signature(
                    METHODS[deed],
                    self._path(name),
                    CREATE_HEADERS if deed == "create" else None,
                )
                for deed in sorted(allowed)
            }
            for name, allowed in sorted(deeds.items())
        }
        address = lent_address(self._place.base, encoded_query(signer.common()), signatures)
        return {"store": address}

    def fields(self, key: str) -> dict[str, str]:
        beginning = named(key, "")
        found = {}
        for name, _ in self._listed(beginning):
            field = name.removeprefix(beginning)
            value = self.get_field(key, field)
            if value is not None:
                found[field] = value
        return found

    def delete_fields(self, key: str) -> None:
        self.delete_prefix(named(key, ""))

    def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        while names := [name for name, _ in self._listed(prefix)]:
            for start in range(0, len(names), _PAGE):
                self._delete_all(names[start : start + _PAGE])
            deleted += len(names)
        return deleted

    def renew_prefix(self, prefix: str) -> None:
        # Of a run, what was written last counts for all of it.
        self.set_field(f"{prefix}{_ALIVE}", "at", str(round(time.time())))

    def remove_expired(self, prefix: str) -> int:
        """Remove runs of which nothing was written for `lifetime_s`; the number of objects.

        Args:
            prefix: what the keys of all runs begin with; a run's name ends with the next colon.
        """
        newest: dict[str, float] = {}
        for name, written_s in self._listed(prefix):
            run = name[len(prefix) :].partition(":")[0]
            newest[run] = max(newest.get(run, 0.0), written_s)
        oldest_s = time.time() + self._ahead_s - self.lifetime_s
        expired = [run for run, written_s in newest.items() if written_s < oldest_s]
        return sum(self.delete_prefix(f"{prefix}{run}:") for run in expired)

    def _listed(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Names that begin with a prefix, and when they were written. For people and removal."""
        whole, token = f"{self._place.prefix}{prefix}", ""
        while True:
            query = {"list-type": "2", "prefix": whole, "max-keys": str(_PAGE)}
            if token:
                query["continuation-token"] = token
            answer = self.exchange.ask(
                "GET",
                lambda query=query: self._signer().target(  # type: ignore[misc]
                    "GET", self._place.bucket_path, query
                ),
                again=self.passes,
            )
            if answer.status != 200:
                raise self.failed("list", prefix, answer)
            try:
                page = ET.fromstring(answer.body)
            except ET.ParseError as error:
                raise StoreError(f"{self.patience.server} lists what is no XML: {error}") from error
            for element in page.iter():
                element.tag = element.tag.rpartition("}")[2]
            for entry in page.iter("Contents"):
                name, written = entry.findtext("Key", ""), entry.findtext("LastModified", "")
                with contextlib.suppress(ValueError):
                    written_s = datetime.fromisoformat(written.replace("Z", "+00:00")).timestamp()
                    yield name.removeprefix(self._place.prefix), written_s
            token = page.findtext("NextContinuationToken", "")
            if not token:
                return

    def _delete_all(self, names: list[str]) -> None:
        objects = "".join(
            f"<Object><Key>{escape(self._place.prefix + name)}</Key></Object>" for name in names
        )
        body = f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        answer = self.exchange.ask(
            "POST",
            lambda: self._signer().target("POST", self._place.bucket_path, {"delete": ""}),
            headers={"Content-MD5": digest},
            body=body,
            size=len(body),
            again=self.passes,
        )
        if answer.status != 200 or b"<Error>" in answer.body:
            raise self.failed("delete", f"{len(names)} objects", answer)

    def try_out(self) -> None:
        """Do what a run does, with objects of a name that nobody else has.

        Raises:
            ConnectionRefused: the bucket or a right is missing, or the server cannot do it.
        """
        key = f"disdel:check-{secrets.token_hex(4)}:"
        data = secrets.token_bytes(100)
        try:
            self.put(f"{key}blob", data)
            target = bytearray(50)
            blob = self.existing(f"{key}blob")
            self.read(blob.key, "", memoryview(target), 25)
            first, second = (self.put_if_absent(f"{key}once", one) for one in (b"1", b"2"))
            listed = {name for name, _ in self._listed(key)}
            self.delete_prefix(key)
        except StoreLost:
            raise
        except StoreError as error:
            raise ConnectionRefused(
                f"{error}. A run needs s3:GetObject, s3:PutObject and s3:DeleteObject on "
                f"{self.address}/*, and s3:ListBucket on a bucket that is there"
            ) from error
        if bytes(target) != data[25:75] or blob.size != len(data):
            raise ConnectionRefused(
                f"{self.patience.server} does not give back what it was given, or no ranges of it: "
                "name another"
            )
        if not first or second:
            raise ConnectionRefused(
                f"{self.patience.server} writes an object over another although it was told not to "
                "(If-None-Match: *), so what must be written once would not be: name a server with "
                "conditional writes"
            )
        if listed != {f"{key}blob", f"{key}once"}:
            raise ConnectionRefused(
                f"{self.patience.server} does not list what was just written, so a run could not "
                "be removed: name another"
            )
