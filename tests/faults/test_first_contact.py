"""What is wrong before a run: told at once where it is the user's input, waited for where not."""

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys

import pytest

from disdel.errors import ConnectionRefused, PlatformLost, PlatformRejected
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.platforms.openwhisk.client import OpenWhisk
from tests.support.fault_proxies import CUT_AFTER, http_reply

KEY = "user:secret"
NAMESPACES = "GET /api/v1/namespaces"


def capacity_at(apihost, auth=KEY, patience_s=60.0):
    """What a host says that is asked for the first time."""

    async def ask():
        platform = OpenWhisk(ApiAccess(apihost, auth), patience_s=patience_s)
        try:
            return await platform.capacity()
        finally:
            await platform.close()

    return asyncio.run(ask())


def refused(apihost, **changes):
    # All of that patience would take more than any test may.
    with pytest.raises(ConnectionRefused) as error:
        capacity_at(apihost, patience_s=3600.0, **changes)
    assert error.value.exit_code == 2
    return str(error.value)


def test_nobody_is_there():
    said = refused("http://127.0.0.1:1")
    assert said.startswith("no OpenWhisk answers at http://127.0.0.1:1 (ConnectError: ")
    assert "check --apihost" in said


def test_a_name_that_nobody_has():
    assert "no OpenWhisk answers at http://no-such-host.invalid" in refused(
        "http://no-such-host.invalid"
    )


def test_https_to_a_host_that_speaks_http(servers):
    plain = servers[0].apihost
    said = refused(plain.replace("http:", "https:"))
    assert f"does not speak https (WRONG_VERSION_NUMBER): if that is meant, --apihost {plain}" in (
        said
    )


def test_http_to_a_host_that_speaks_https(api):
    api.always(NAMESPACES, CUT_AFTER)
    assert said_so(refused(api.url))
    page = b"<html>The plain HTTP request was sent to HTTPS port</html>"
    api.always(NAMESPACES, http_reply(400, page))
    assert "it wants https" in refused(api.url)


def said_so(text):
    return text.endswith("if it speaks https, say so: --apihost https://…")


def test_a_host_that_sends_elsewhere(api):
    moved = http_reply(301, headers="location: https://elsewhere.example/\r\n")
    api.always(NAMESPACES, moved)
    assert "301, it sends to https://elsewhere.example/" in refused(api.url)


@pytest.mark.parametrize("body", [b"<html>", b"[1", b'{"a": 1}', b"7"])
def test_a_host_that_is_something_else(api, body):
    api.always(NAMESPACES, http_reply(200, body))
    api.always("GET /", http_reply(200, body))
    assert "answers, but not as OpenWhisk does" in refused(api.url)


def test_a_wrong_key_is_told_in_sentences(api):
    assert "does not accept the key: The supplied authentication is invalid. Check --auth" in (
        refused(api.url, auth="23bc46b1-0000:" + "x" * 64)
    )


@pytest.mark.parametrize("status", [403, 404])
def test_what_the_platform_refuses_is_final(api, status):
    api.always(NAMESPACES, http_reply(status, b'{"error": "no", "code": "x"}'))
    with pytest.raises(PlatformRejected) as rejected:
        capacity_at(api.url)
    assert rejected.value.status == status
    assert api.seen.count(NAMESPACES) == 1


def test_a_host_that_is_only_starting_is_waited_for(api, servers):
    api.on(NAMESPACES, http_reply(503), http_reply(502), http_reply(503))
    assert capacity_at(api.url, servers[0].auth).concurrency
    api.always(NAMESPACES, http_reply(503))
    with pytest.raises(PlatformLost, match=r"has failed for \d+ s: 503") as lost:
        capacity_at(api.url, patience_s=1.0)
    # Longer where the machine stood still meanwhile.
    assert int(re.findall(r"for (\d+) s", str(lost.value))[0]) >= 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_trusts(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )

    async def serve_and_ask():
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        answer = lambda _, writer: writer.close()  # noqa: E731
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        async with server:
            platform = OpenWhisk(ApiAccess(f"https://127.0.0.1:{port}", KEY), patience_s=60.0)
            try:
                await platform.capacity()
            finally:
                await platform.close()

    with pytest.raises(ConnectionRefused, match=r"is not trusted .* --insecure"):
        asyncio.run(serve_and_ask())


def test_a_loss_in_mid_run_is_exit_1_and_no_traceback(servers, api, data_dir, tmp_path):
    """And --resume comes to the same as a run that nothing happened to."""
    access, redis = servers
    command = [sys.executable, "-m", "tests.support.linear", "train"]
    where = ["--apihost", api.url, "--auth", access.auth, "--redis", redis]
    where += ["--run-dir", str(tmp_path / "runs"), "--patience-network", "1.5", "--quiet"]
    env = {**os.environ, "DISDEL_DATA_DIR": str(data_dir)}

    def disdel(*arguments):
        return subprocess.Popen(
            [*command, *arguments, *where], env=env, stderr=subprocess.PIPE, text=True
        )

    api.leaves_at = ("POST actions", 12)
    run = disdel("digits", "--workers", "2", "--epochs", "6", "--runtime", "tensorflow")
    _, said = run.communicate()
    assert run.returncode == 1
    assert "Traceback" not in said
    assert "never retrieved" not in said
    [folder] = (tmp_path / "runs").iterdir()
    assert f"disdel train --resume {folder.name}" in said
    api.back()
    resumed = disdel("--resume", folder.name)
    _, said = resumed.communicate()
    assert resumed.returncode == 0, said
    assert json.loads((folder / "report.json").read_text())["status"] == "ok"
