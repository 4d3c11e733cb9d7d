"""What the embedded platform answers beyond what tests/conformance asks of every OpenWhisk."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

from tests.support import local_http
from tests.support.embedded import (
    ECHO,
    WAIT,
    User,
    annotations,
    failed,
    is_error,
)


def test_information(guest: User) -> None:
    host = guest.record.apihost
    assert local_http.get(f"{host}/ping").text == "pong"
    info = local_http.get(host).json()
    assert info["limits"]["max_action_memory"] == 4096 << 20
    assert info["limits"]["max_action_duration"] == 300_000
    assert info["capacity"]["user_memory_mb"] == 1024
    assert info["capacity"]["enforcement"] == guest.record.enforcement
    assert info["capacity"]["isolation"] == guest.record.isolation
    assert "python:3.11" in [kind["kind"] for kind in info["runtimes"]["python"]]
    assert local_http.get(f"{host}/api/v1").json()["api_version_path"] == "v1"
    assert guest.client.get("/limits").json()["maxActionMemory"] == 4096


def test_routes_that_do_not_exist(guest: User) -> None:
    is_error(guest.client.get("/nowhere"), 404, "The requested resource could not be found.")
    # Within the API a wrong method is no route; outside of it the preflights' route shows through.
    reply = guest.client.post("/packages/p", json={})
    is_error(reply, 404, "The requested resource could not be found.")
    text = "HTTP method not allowed, supported methods: "
    is_error(local_http.post(f"{guest.record.apihost}/ping"), 405, f"{text}GET, OPTIONS")
    outside = local_http.get(f"{guest.record.apihost}/nowhere")
    is_error(outside, 405, f"{text}OPTIONS")
    preflight = local_http.options(f"{guest.record.apihost}/api/v1/bogus")
    assert (preflight.status_code, preflight.text) == (200, "OK")
    assert preflight.headers["access-control-allow-origin"] == "*"


_NOT_FOUND = "The requested resource does not exist."


def test_a_blocking_invocation(guest: User) -> None:
    made = guest.put("echo")
    reply = guest.invoke("echo", x=1)
    record = reply.json()
    assert reply.status_code == 200
    assert reply.headers["x-openwhisk-activation-id"] == record["activationId"]
    assert record["logs"] == []
    # The stock proxy ends every reply with a newline.
    size = len('{"x": 1}\n')
    result = {"x": 1}
    success = {"status": "success", "success": True, "result": result, "size": size}
    assert record["response"] == success
    assert record["duration"] == record["end"] - record["start"]
    facts = annotations(record)
    assert (facts["path"], facts["kind"], facts["timeout"]) == ("guest/echo", "python:3", False)
    assert facts["limits"] == made["limits"]
    assert facts["waitTime"] >= 0
    assert facts["initTime"] > 0
    assert 0 < facts["peakMemory"] < 128
    assert guest.activation(record["activationId"]) == record


def test_a_non_blocking_invocation(guest: User, tmp_path: Path) -> None:
    guest.put("wait", WAIT)
    until = tmp_path / "until"
    activation_id = guest.start("wait", until=str(until))
    is_error(guest.client.get(f"/activations/{activation_id}"), 404, _NOT_FOUND)
    until.touch()
    record = guest.activation(activation_id)
    assert record["response"]["success"]
    url = f"/activations/{activation_id}"
    assert guest.client.get(f"{url}/result").json() == record["response"]
    assert guest.client.get(f"{url}/logs").json() == {"logs": []}


def test_requests_that_are_refused(guest: User) -> None:
    guest.put("echo")
    post = guest.client.post
    is_error(
        post("/actions/echo?timeout=0", json={}),
        400,
        "The query parameter 'timeout' was malformed:\n"
        "Timeout must be number of milliseconds up to 60000.",
    )
    assert post("/actions/echo", json=[1]).status_code == 400
    assert post("/actions/echo", content="x=1").status_code == 415
    is_error(post("/actions/absent", json={}), 404, _NOT_FOUND)
    body = '{"x":"' + "x" * ((1 << 20) + 1 - len('{"x":""}')) + '"}'
    reply = post("/actions/echo", content=body, headers={"content-type": "application/json"})
    is_error(reply, 413, "Request larger than allowed: 1048577 > 1048576 bytes.")
    for constant in ("NaN", "1e999", '"\\ud800"'):
        json_type = {"content-type": "application/json"}
        strange = post("/actions/echo", content=f'{{"x":{constant}}}', headers=json_type)
        assert strange.status_code == 400


def test_a_zip_and_a_blackbox_image(guest: User) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("__main__.py", "from helper import go")
        bundle.writestr(
            "helper.py", "import numpy\ndef go(args): return {'two': int(numpy.add(1, 1))}"
        )
    code = base64.b64encode(buffer.getvalue()).decode()
    image = {"kind": "blackbox", "image": "disdel/runtime-base:1", "code": code, "main": "go"}
    made = guest.put("zip", exec=image, memory=256)
    assert made["exec"] == {**image, "binary": True}
    assert guest.invoke("zip").json()["response"]["result"] == {"two": 2}
    guest.put("unknown", exec={"kind": "blackbox", "image": "me/img:tag", "code": ECHO})
    reply = guest.invoke("unknown")
    failed(reply, "action developer error", "Failed to pull container image 'me/img:tag'.")
