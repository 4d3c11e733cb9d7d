"""A Redis that is reached by TLS alone."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """The files of a certificate for 127.0.0.1 that signs itself, and of its key."""
    made = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", str(made[0]), "-keyout", str(made[1])),
        ],
        check=True,
        capture_output=True,
    )
    return made


@contextlib.contextmanager
def behind_tls(redis_url: str, certificate: Path, key: Path) -> Iterator[str]:
    """A real Redis behind what ends TLS, since the one of the wheel was built without; its URL."""
    parts = urlsplit(redis_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, parts), daemon=True).start()
        port = listener.getsockname()[1]
        yield f"rediss://{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener, context, parts) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, context, parts), daemon=True).start()


def _serve(client, context, parts) -> None:
    with (
        client,
        contextlib.suppress(OSError),
        context.wrap_socket(client, server_side=True) as secure,
        socket.create_connection((parts.hostname, parts.port)) as server,
    ):
        back = threading.Thread(target=_pass, args=(server, secure), daemon=True)
        back.start()
        _pass(secure, server)
        server.shutdown(socket.SHUT_RDWR)
        back.join()


def _pass(source, target) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
