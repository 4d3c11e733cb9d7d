"""Rows 22 to 30: how an invocation is asked for and answered."""

from __future__ import annotations

import concurrent.futures
import re
import time
from pathlib import Path

import httpx
import pytest

from tests.support.openwhisk import NO_RESOURCE, OpenWhisk, annotations, is_refused

MIB = 1 << 20
SLEEP = "import time\ndef main(args): time.sleep(args['s']); return {'slept': args['s']}"
WAIT = (
    "import os, time\n"
    "def main(args):\n"
    "    while not os.path.exists(args['until']): time.sleep(0.01)\n"
    "    return {}\n"
)
JSON = {"content-type": "application/json"}


def test_row_22_not_blocking(whisk: OpenWhisk) -> None:
    reply = whisk.post(f"/actions/{whisk.action()}", json={"x": 1})
    assert reply.status_code == 202
    assert set(reply.json()) == {"activationId"}
    activation_id = reply.json()["activationId"]
    assert reply.headers["x-openwhisk-activation-id"] == activation_id
    assert len(activation_id) == 32
    assert whisk.activation(activation_id)["response"]["result"] == {"x": 1}


def test_row_23_blocking(whisk: OpenWhisk) -> None:
    name = whisk.action("def main(args):\n    print('said')\n    return args")
    reply = whisk.invoke(name, {"x": 1})
    record = reply.json()
    assert reply.status_code == 200
    assert reply.headers["x-openwhisk-activation-id"] == record["activationId"]
    assert record["logs"] == []
    assert record["response"].pop("size", 9) == 9
    assert record["response"] == {"status": "success", "success": True, "result": {"x": 1}}
    assert record["end"] - record["start"] == record["duration"]
    assert (record["name"], record["publish"]) == (name, False)
    assert record["namespace"] == whisk.namespace
    facts = annotations(record)
    assert facts["path"] == f"{whisk.namespace}/{name}"
    assert facts["kind"].startswith("python:")
    assert (facts["timeout"], facts["limits"]["memory"]) == (False, 128)
    assert facts["waitTime"] >= 0
    assert facts["initTime"] > 0


def test_row_24_only_the_result(whisk: OpenWhisk) -> None:
    name = whisk.action()
    assert whisk.result(name, {"a": "ü"}) == {"a": "ü"}
    assert whisk.post(f"/actions/{name}?blocking=yes&result=1").json() == {}
    # Without `blocking` it has no effect.
    assert whisk.post(f"/actions/{name}?result=true").status_code == 202


def test_row_25_a_wait_that_elapses(whisk: OpenWhisk) -> None:
    reply = whisk.invoke(whisk.action(SLEEP), {"s": 3}, "&timeout=500")
    assert reply.status_code == 202
    activation_id = reply.json()["activationId"]
    assert whisk.get(f"/activations/{activation_id}").status_code == 404
    assert whisk.activation(activation_id)["response"]["result"] == {"slept": 3}


@pytest.mark.parametrize("timeout", ["0", "-1", "60001", "x", ""])
def test_row_26_waits_that_cannot_be(whisk: OpenWhisk, timeout: str) -> None:
    text = (
        "The query parameter 'timeout' was malformed:\n"
        "Timeout must be number of milliseconds up to 60000."
    )
    is_refused(whisk.invoke(whisk.action(), query=f"&timeout={timeout}"), 400, text)


def test_row_27_bodies_that_are_no_objects(whisk: OpenWhisk) -> None:
    name = whisk.action()
    for body in ("[1]", "1", '"x"', "{", "nul"):
        reply = whisk.post(f"/actions/{name}", content=body, headers=JSON)
        assert reply.status_code == 400
        assert reply.json()["error"].startswith("The request content was malformed:\n")
    text = whisk.post(f"/actions/{name}", content="{}", headers={"content-type": "text/plain"})
    assert text.status_code == 415
    assert "is not supported" in text.json()["error"]
    assert "application/json" in text.json()["error"]


def test_row_28_a_payload_that_is_too_large(whisk: OpenWhisk) -> None:
    name = whisk.action("def main(args): return {'length': len(args['x'])}")
    room = MIB - len('{"x":""}')
    body = '{"x":"' + "x" * room + '"}'
    assert len(body) == MIB
    reply = whisk.post(f"/actions/{name}?blocking=true", content=body, headers=JSON)
    assert reply.json()["response"]["result"] == {"length": room}
    reply = whisk.post(f"/actions/{name}", content=body + " ", headers=JSON)
    is_refused(reply, 413, "Request larger than allowed: 1048577 > 1048576 bytes.")


@pytest.mark.only_embedded("uses up what the namespace may invoke in a minute")
def test_row_29_too_many_in_a_minute(stock: OpenWhisk) -> None:
    def attempts(count: int) -> str:
        """Invoke what is not there, which counts like any other attempt."""
        for _ in range(count):
            reply = stock.http.post("/api/v1/namespaces/_/actions/absent", json={})
        return str(reply.json()["error"])

    minute = 0
    while minute != (minute := int(time.time() // 60)):
        # Once more where a minute has ended in between.
        text = attempts(61)
    # 61, or more where a minute began just before the first attempt.
    said = re.fullmatch(
        r"Too many requests in the last minute \(count: (\d+), allowed: 60\)\.", text
    )
    assert said
    assert int(said[1]) >= 61


@pytest.mark.only_embedded("uses up what the namespace may have in flight")
def test_row_30_too_many_at_once(stock: OpenWhisk, tmp_path: Path) -> None:
    name, go = stock.action(WAIT), tmp_path / "go"

    def wait(_: int) -> httpx.Response:
        return stock.post(f"/actions/{name}", json={"until": str(go)})

    with concurrent.futures.ThreadPoolExecutor(30) as threads:
        accepted = [*threads.map(wait, range(30))]
    assert {reply.status_code for reply in accepted} == {202}
    text = "Too many concurrent requests in flight (count: 30, allowed: 30)."
    is_refused(wait(30), 429, text)
    go.touch()


def test_an_action_that_is_not_there(whisk: OpenWhisk) -> None:
    is_refused(whisk.invoke("absent"), 404, NO_RESOURCE)
    is_refused(whisk.invoke("absent/a"), 404, NO_RESOURCE)
    is_refused(whisk.invoke(f"{whisk.package()}/absent"), 404, NO_RESOURCE)


@pytest.mark.parametrize("query", ["blocking=perhaps", "blocking=true&result=perhaps"])
def test_switches_that_are_neither_on_nor_off(whisk: OpenWhisk, query: str) -> None:
    reply = whisk.post(f"/actions/{whisk.action()}?{query}", json={})
    assert reply.status_code == 400
    assert "was malformed" in reply.json()["error"]


@pytest.mark.parametrize("depth", [300, 900, 980, 100_000])
def test_deep_json(whisk: OpenWhisk, depth: int) -> None:
    name = whisk.action()
    body = '{"x":' * depth + "1" + "}" * depth
    reply = whisk.post(f"/actions/{name}?blocking=true", content=body, headers=JSON)
    if reply.status_code == 400:
        assert "x-openwhisk-activation-id" not in reply.headers
    else:
        # Whether the action can hold it is between its runtime and its code.
        assert reply.status_code in (200, 502)
        whisk.ended(reply.headers["x-openwhisk-activation-id"])
    wire = '{"parameters":[{"key":"x","value":' + body + "}]}"
    stored = whisk.put(f"/actions/{name}?overwrite=true", content=wire, headers=JSON)
    assert stored.status_code in (200, 400, 413)
    assert whisk.get(f"/actions/{name}").status_code == 200
