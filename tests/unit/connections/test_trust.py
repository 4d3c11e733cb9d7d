"""Proxies and certificates of the environment: where they count, and where not."""

import asyncio
import http.server
import ssl
import subprocess
import threading

import pytest

from disdel.connections.trust import certificates, is_loopback, tls_context
from disdel.errors import ConnectionRefused, PlatformLost, UsageError
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.platforms.openwhisk.client import OpenWhisk
from disdel.store.redis_store import RedisStore


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate of localhost that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("authority")
    made = [folder / "certificate.pem", folder / "key.pem"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", str(made[0]), "-keyout", str(made[1])),
        ],
        check=True,
        capture_output=True,
    )
    return made


class _Heard(http.server.BaseHTTPRequestHandler):
    """Answers as OpenWhisk does to a key, and keeps what it was asked with."""

    heard: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self):
        self.heard.append((self.path, self.headers.get("Authorization")))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]" if "namespaces" in self.path else b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """A server, its port, and what it has heard."""
    _Heard.heard = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Heard) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening
        listening.shutdown()


def ask(apihost, **given):
    async def asked():
        platform = OpenWhisk(ApiAccess(apihost, "uuid:secret"), patience_s=0.1, **given)
        try:
            return await platform.capacity()
        finally:
            await platform.close()

    return asyncio.run(asked())


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_never_hears_of_this_machine(server, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    port = server.server_address[1]
    for host in ("127.0.0.1", "localhost"):
        assert ask(f"http://{host}:{port}").memory_max_mb == 512
    assert all(path.startswith("/") for path, _ in _Heard.heard)


def test_a_proxy_is_asked_for_other_machines(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_address[1]}")
    ask("http://whisk.example")
    assert _Heard.heard[0][0] == "http://whisk.example/api/v1/namespaces"
    monkeypatch.setenv("NO_PROXY", "whisk.example")
    _Heard.heard.clear()
    with pytest.raises((ConnectionRefused, PlatformLost)):
        ask("http://whisk.example")
    assert _Heard.heard == []


@pytest.mark.parametrize(
    "proxy", ["nonsense", "htp://u:s3cret@x:1", "http://u:s3c/ret@h", "http://["]
)
def test_a_proxy_that_is_none_is_told_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises((UsageError, PlatformLost)) as refused:
        ask("https://whisk.example")
    assert "s3c" not in str(refused.value)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_host_is_trusted_by_the_certificates_of_the_environment(
    server, authority, monkeypatch, variable
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    host = f"https://localhost:{server.server_address[1]}"
    with pytest.raises((ConnectionRefused, PlatformLost), match="is not trusted"):
        ask(host)
    monkeypatch.setenv(variable, str(authority[0]))
    assert ask(host).memory_max_mb == 512


def test_certificates_that_are_none_are_told(tmp_path, authority):
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE=.*holds no certificates"):
        tls_context({"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    with pytest.raises(UsageError, match=r"CURL_CA_BUNDLE=/no/such: there is no such"):
        certificates({"CURL_CA_BUNDLE": "/no/such"})
    assert tls_context({}) is None
    assert tls_context({"SSL_CERT_DIR": str(tmp_path)}) is not None
    assert tls_context({"REQUESTS_CA_BUNDLE": str(authority[0])}) is not None


def test_a_redis_by_tls_is_told_of_the_certificates(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such")
    with pytest.raises(UsageError, match="REQUESTS_CA_BUNDLE=/no/such"):
        RedisStore("rediss://localhost:1")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("api.LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("127.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("whisk.example", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(host, here):
    assert is_loopback(host) == here
