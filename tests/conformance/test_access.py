"""Rows 1 to 5: authentication, namespaces, and the envelope of every error."""

from __future__ import annotations

import httpx
import pytest

from tests.support.openwhisk import NO_ROUTE, OpenWhisk, is_refused
from tests.support.waiting import DEADLINE_S

INVALID = "The supplied authentication is invalid"
MISSING = "The resource requires authentication, which was not supplied with the request"


@pytest.fixture
def stranger(whisk: OpenWhisk) -> httpx.Client:
    verify = not whisk.access.insecure
    with httpx.Client(
        base_url=whisk.access.apihost, trust_env=False, verify=verify, timeout=DEADLINE_S
    ) as client:
        yield client


def test_row_01_namespaces(whisk: OpenWhisk) -> None:
    for path in ("/api/v1/namespaces", "/api/v1/namespaces/"):
        reply = whisk.http.get(path)
        assert (reply.status_code, reply.json()) == (200, [whisk.namespace])
        assert reply.headers["x-request-id"]


@pytest.mark.parametrize("key", ["{user}:wrong", "{user}:" + "x" * 64, "a", ":"])
def test_row_02_a_wrong_key(whisk: OpenWhisk, stranger: httpx.Client, key: str) -> None:
    user, _, secret = key.format(user=whisk.access.auth.partition(":")[0]).partition(":")
    reply = stranger.get("/api/v1/namespaces", auth=(user, secret))
    is_refused(reply, 401, INVALID)
    assert reply.headers["www-authenticate"].startswith("Basic ")


def test_row_03_no_key(stranger: httpx.Client) -> None:
    is_refused(stranger.get("/api/v1/namespaces"), 401, MISSING)
    is_refused(stranger.get("/api/v1/nowhere"), 401, MISSING)
    is_refused(stranger.put("/api/v1/namespaces/_/packages/p", json={}), 401, MISSING)


def test_row_04_transaction_ids(whisk: OpenWhisk) -> None:
    reply = whisk.get("/actions/absent", headers={"x-request-id": "abc"})
    if whisk.embedded:
        # In front of a cluster stands a proxy that gives out ids of its own.
        assert reply.headers["x-request-id"] == "abc"
    assert reply.json()["code"] == reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("actions", "other"),
        ("actions/a", "other/a"),
        ("triggers/t", "other/t"),
        ("activations", "other"),
    ],
)
def test_row_05_somebody_elses_namespace(whisk: OpenWhisk, path: str, named: str) -> None:
    reply = whisk.http.get(f"/api/v1/namespaces/other/{path}")
    text = f"The supplied authentication is not authorized to access '{named}'."
    is_refused(reply, 403, text)


def test_the_namespace_has_a_name_too(whisk: OpenWhisk) -> None:
    by_name = whisk.http.get(f"/api/v1/namespaces/{whisk.namespace}/actions")
    assert by_name.status_code == 200


def test_a_namespace_that_cannot_be(whisk: OpenWhisk) -> None:
    reply = whisk.http.get("/api/v1/namespaces/@/actions")
    is_refused(reply, 400, "The namespace contains illegal characters.")
    reply = whisk.http.get(f"/api/v1/namespaces/{'a' * 257}/actions")
    is_refused(reply, 400, "Namespace longer than allowed: 257 > 256.")


def test_information(whisk: OpenWhisk) -> None:
    info = whisk.http.get("/").json()
    assert info["api_paths"] == ["/api/v1"]
    assert {"actions_per_minute", "concurrent_actions", "max_action_memory"} <= set(info["limits"])
    assert any(each["kind"].startswith("python:") for each in info["runtimes"]["python"])
    assert whisk.http.get("/ping").text == "pong"
    assert whisk.http.get("/api/v1").json()["api_version_path"] == "v1"
    limits = whisk.get("/limits").json()
    assert limits["maxActionMemory"] << 20 == whisk.limits["max_action_memory"]


def test_preflights_need_no_key(stranger: httpx.Client) -> None:
    reply = stranger.options("/api/v1/namespaces/_/actions/a")
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in reply.headers["access-control-allow-headers"]
    assert "PUT" in reply.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("GET", "/packages/p/"),
        ("GET", "/actions/p/a/b"),
        ("POST", "/packages/p"),
        ("POST", "/actions"),
        ("PUT", "/activations"),
        ("DELETE", "/limits"),
        ("PATCH", "/actions/a"),
    ],
)
def test_what_no_route_takes(whisk: OpenWhisk, method: str, path: str) -> None:
    reply = whisk.http.request(method, f"/api/v1/namespaces/_{path}", json={})
    if reply.status_code == 405:
        # So say the routes of a collection where nothing stands behind them.
        assert reply.json()["error"].startswith("HTTP method not allowed, supported methods: ")
    else:
        is_refused(reply, 404, NO_ROUTE)


@pytest.mark.only_embedded("a proxy in front of a cluster has its own mind about hosts")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:80", "10.1.2.3"])
def test_hosts_that_can_be_nobody_elses(whisk: OpenWhisk, host: str) -> None:
    assert whisk.get("/actions", headers={"host": host}).status_code == 200


@pytest.mark.only_embedded("a proxy in front of a cluster has its own mind about hosts")
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "[", "a b", "", "\xff", "x" * 5000]
)
@pytest.mark.parametrize("path", ["/", "/ping", "/api/v1/namespaces/_/actions", "/nowhere"])
def test_any_other_name_for_the_host(whisk: OpenWhisk, path: str, host: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        reply = whisk.http.request(method, path, headers={"host": host.encode("latin-1")})
        text = f"The platform does not answer to the host '{host[:253]}': use an IP address or"
        is_refused(reply, 403, f"{text} localhost.")


@pytest.mark.only_embedded("a cluster leaves web pages to its API gateway")
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_web_pages_of_others(whisk: OpenWhisk, headers: dict[str, str]) -> None:
    name = whisk.action()
    sent = {**headers, "content-type": "text/plain"}
    for method, path in (("POST", f"/actions/{name}"), ("GET", "/actions"), ("OPTIONS", "/")):
        reply = whisk.request(method, path, headers=sent)
        assert reply.status_code == 403
        assert "does not answer to web pages" in reply.json()["error"]


@pytest.mark.only_embedded("a cluster leaves web pages to its API gateway")
def test_a_page_of_its_own(whisk: OpenWhisk) -> None:
    headers = {"origin": whisk.access.apihost, "sec-fetch-site": "same-origin"}
    assert whisk.get("/actions", headers=headers).status_code == 200
