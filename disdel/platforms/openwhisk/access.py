"""How an OpenWhisk is reached: its host and its key."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from disdel.connections.masking import masked
from disdel.errors import UsageError
from disdel.settings import Settings

# What stands before every path of OpenWhisk's API.
_API_PATH = "/api/v1"


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How to reach an OpenWhisk: the host as a URL, and the key as `uuid:secret`."""

    apihost: str
    auth: str
    insecure: bool = False

    def __repr__(self) -> str:
        return f"ApiAccess(apihost={self.apihost!r}, auth=<hidden>)"


def access_of(settings: Settings) -> ApiAccess | None:
    """The OpenWhisk that the user has named; None where no host is named anywhere.

    Raises:
        UsageError: its host is no URL.
    """
    if settings.apihost is None:
        return None
    return access_to(settings.apihost, settings.auth, insecure=settings.insecure)


def access_to(apihost: str, auth: str | None, *, insecure: bool = False) -> ApiAccess:
    """How to reach an OpenWhisk.

    A host without a scheme means https, as `wsk` reads it; the API's path may stand behind it.

    Args:
        apihost: its host or URL; a key may stand in it.
        auth: its key; comes before that in the URL.
        insecure: do not check its certificate.

    Raises:
        UsageError: the host is no URL.
    """
    url, in_url = _split_host(apihost)
    return ApiAccess(url, auth or in_url, insecure)


def _split_host(host: str) -> tuple[str, str]:
    """The URL of an API host, and the key that stands in it, if any."""
    url = host if "://" in host else f"https://{host}"
    wrong = UsageError(
        f"the API host {masked(url)} is no URL of the form https://HOST[:PORT]: check --apihost "
        "(or APIHOST in ~/.wskprops); the key goes with --auth"
    )
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
        (name or "").encode("idna")
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not name or parts.query or parts.fragment:
        raise wrong
    if "@" in parts.path or port == 0:
        raise wrong
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    return place.removesuffix(_API_PATH).rstrip("/"), user
