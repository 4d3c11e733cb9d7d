"""Which requests come from a web page of somebody else, whose reader never meant to send them.

A browser may be led here in two ways. A page elsewhere sends a request, for which some kinds need
no leave of ours: then the browser names the page's origin. Or a name that the page's owner controls
is made to lead to this machine, so that the browser takes the platform for part of that page: then
the request is for a host of that name. Programs name no origin, and the host that they were given.
"""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers

from openwhisk_local.replies import ApiError

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\[\]:/?#@\s]+)(?::(?P<port>\d{1,5}))?")


def check_origin(headers: Headers) -> None:
    """Refuse what a web page elsewhere may have sent.

    Raises:
        ApiError: 403, with the reason.
    """
    hosts = headers.getlist("host")
    host = hosts[0] if len(hosts) == 1 else ""
    if not _leads_nowhere_else(host):
        raise ApiError(
            403,
            f"The platform does not answer to the host '{host[:253]}': use an IP address or "
            "localhost.",
        )
    origins = headers.getlist("origin")
    own = (f"http://{host}".lower(), f"https://{host}".lower())
    if any(origin.lower() not in own for origin in origins):
        raise ApiError(403, f"The platform does not answer to web pages of '{origins[0][:253]}'.")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ApiError(403, "The platform does not answer to web pages of other sites.")


def _leads_nowhere_else(host: str) -> bool:
    """Whether nobody can make this host lead to another machine: it is an address, or localhost."""
    named = _HOST.fullmatch(host)
    if named is None:
        return False
    name = named["name"].lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
