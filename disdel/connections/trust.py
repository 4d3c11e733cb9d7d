"""Whom connections trust: the certificates that the user's environment names, and proxies.

Corporate networks have an authority of their own. Programs are told of it by one of several
variables; all of them count here, for the platform's host and for Redis, on the controller's host
and in the containers of the embedded platform.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from disdel.errors import UsageError

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def certificates(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that name certificates, with paths that hold in any folder.

    Raises:
        UsageError: one names nothing that is there.
    """
    found = {}
    for name in CERTIFICATE_VARIABLES:
        if path := environ.get(name):
            if not Path(path).exists():
                raise UsageError(
                    f"{name}={path}: there is no such file or folder of certificates; name one "
                    "that is there, or unset it"
                )
            found[name] = str(Path(path).absolute())
    return found


def tls_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext | None:
    """A context that trusts the certificates of the environment; None where it names none.

    Raises:
        UsageError: what it names holds none.
    """
    named = certificates(environ)
    if not named:
        return None
    context = ssl.create_default_context()
    for name, path in named.items():
        try:
            if Path(path).is_dir():
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except OSError as error:  # Also `ssl.SSLError`.
            raise UsageError(
                f"{name}={path} holds no certificates that can be read ({error.strerror or error}):"
                " name a file of PEM certificates, or unset it"
            ) from error
    return context


def redis_options(url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What redis-py is told of the certificates, for a Redis that is reached by TLS.

    Raises:
        UsageError: one names nothing that is there.
    """
    if not url.startswith("rediss://"):
        return {}
    options: dict[str, str] = {}
    if "ssl_ca_" in urlsplit(url).query:
        # What the address itself names is all that counts.
        return options
    for path in certificates(environ).values():
        options.setdefault("ssl_ca_path" if Path(path).is_dir() else "ssl_ca_certs", path)
    return options


def with_certificates(url: str) -> str:
    """A Redis's URL for who has not this machine's files: `ssl_ca_certs` is in it as a text.

    Raises:
        UsageError: the file that it names cannot be read.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    file = query.pop("ssl_ca_certs", None)
    if parts.scheme != "rediss" or file is None:
        return url
    try:
        query["ssl_ca_data"] = Path(file).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text of PEM"
        raise UsageError(
            f"the certificates {file} of the Redis (ssl_ca_certs) cannot be read: {reason}"
        ) from None
    return urlunsplit(parts._replace(query=urlencode(query)))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name, so that no proxy has to do with it."""
    if host.lower().rstrip(".").rpartition(".")[2] == "localhost":
        return True
    try:
        # Numbers only, in any of their forms, such as 127.1.
        [(_, _, _, _, address), *_] = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except (OSError, ValueError):
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified)
