"""Details in which upstream's own suites and clients have found a platform out."""

from __future__ import annotations

import contextlib
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import local_http
from tests.support.openwhisk import OpenWhisk, annotations, is_refused
from tests.support.waiting import DEADLINE_S

MALFORMED = "The request content was malformed:\n"
ENTITY = "org.apache.openwhisk.core.entity"
CORS = "access-control-allow-origin"
COLLECTIONS = ("packages", "triggers", "actions")


def wire(collection: str, **fields: Any) -> dict[str, Any]:
    code = {"exec": {"kind": "python:default", "code": "x = 1"}}
    return {**(code if collection == "actions" else {}), **fields}


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize(
    ("given", "kept"),
    [("1.0", "1.0.0"), ("1", "1.0.0"), ("1.", "1.0.0"), ("1.0.0.5", "1.0.0"), ("01.2.3", "1.2.3")],
)
def test_versions_are_made_whole(whisk: OpenWhisk, collection: str, given: str, kept: str) -> None:
    path = f"/{collection}/{whisk.name(collection)}"
    assert whisk.put(path, json=wire(collection, version=given)).json()["version"] == kept
    assert whisk.get(path).json()["version"] == kept


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("given", ["0.0.0", "", ".", "1.x", "-1.0.0", "1..2", "9" * 30, 1, []])
def test_versions_that_are_none(whisk: OpenWhisk, collection: str, given: object) -> None:
    reply = whisk.put(f"/{collection}/absent", json=wire(collection, version=given))
    is_refused(reply, 400, f"{MALFORMED}semantic version malformed")


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("field", ["annotations", "parameters"])
def test_keys_of_annotations_and_parameters(whisk: OpenWhisk, collection: str, field: str) -> None:
    path = f"/{collection}/{whisk.name(collection)}"
    pair = {"key": "", "value": 1}
    assert pair in whisk.put(path, json=wire(collection, **{field: [pair]})).json()[field]
    for bad in ({}, "x", [1], [{"key": 1, "value": 1}], [{"value": 1}]):
        reply = whisk.put(f"{path}?overwrite=true", json=wire(collection, **{field: bad}))
        is_refused(reply, 400, f"{MALFORMED}parameters malformed!")


def test_the_order_of_annotations(whisk: OpenWhisk) -> None:
    name = whisk.name()
    made = whisk.put(
        f"/actions/{name}", json=wire("actions", annotations=[{"key": "a", "value": 1}])
    )
    keys = [pair["key"] for pair in made.json()["annotations"]]
    assert keys == ["a", "provide-api-key", "exec"]


def test_the_order_of_an_activations_annotations(whisk: OpenWhisk) -> None:
    record = whisk.invoke(whisk.action()).json()
    keys = [pair["key"] for pair in record["annotations"]]
    assert [key for key in keys if key != "peakMemory"] == [
        *("path", "waitTime", "kind", "timeout", "limits", "initTime")
    ]


def test_an_image_without_code(whisk: OpenWhisk) -> None:
    for given in ({}, {"code": ""}, {"code": " \n"}):
        name = whisk.name()
        exec_ = {"kind": "blackbox", "image": "some/image", **given}
        assert "code" not in whisk.put(f"/actions/{name}", json={"exec": exec_}).json()["exec"]
        assert "code" not in whisk.get(f"/actions/{name}").json()["exec"]


def test_an_action_through_a_binding_names_it(whisk: OpenWhisk) -> None:
    package = whisk.package()
    action = whisk.action(name=f"{package}/a")
    bound = whisk.package(binding={"namespace": "_", "name": package})
    assert "binding" not in whisk.get(f"/actions/{action}").json()
    assert whisk.get(f"/actions/{bound}/a").json()["binding"] == f"{whisk.namespace}/{bound}"


@pytest.mark.parametrize("binding", [None, "x", [], 1])
def test_a_binding_that_is_no_object(whisk: OpenWhisk, binding: object) -> None:
    reply = whisk.put("/packages/absent", json={"binding": binding})
    is_refused(reply, 400, f"{MALFORMED}Object expected in field 'namespace'")


def rule_of(whisk: OpenWhisk, **fields: Any) -> tuple[str, str, str]:
    trigger, rule, action = whisk.name("triggers"), whisk.name("rules"), whisk.action()
    assert whisk.put(f"/triggers/{trigger}", json={}).status_code == 200
    names = {"trigger": f"/_/{trigger}", "action": f"/_/{action}"}
    assert whisk.put(f"/rules/{rule}", json={**names, **fields}).status_code == 200
    return trigger, rule, action


def test_a_rule_is_put_as_it_is_shown(whisk: OpenWhisk) -> None:
    trigger, rule, _ = rule_of(whisk)
    shown = whisk.get(f"/rules/{rule}").json()
    again = whisk.put(f"/rules/{rule}?overwrite=true", json=shown)
    assert again.status_code == 200, again.text
    assert again.json()["trigger"] == {"path": whisk.namespace, "name": trigger}


def test_a_trigger_without_rules_and_one_that_has_lost_its_last(whisk: OpenWhisk) -> None:
    trigger, rule, _ = rule_of(whisk)
    assert len(whisk.get(f"/triggers/{trigger}").json()["rules"]) == 1
    whisk.delete(f"/rules/{rule}")
    assert whisk.get(f"/triggers/{trigger}").json()["rules"] == {}
    fresh = whisk.name("triggers")
    assert "rules" not in whisk.put(f"/triggers/{fresh}", json={}).json()


def test_a_trigger_that_is_fired(whisk: OpenWhisk) -> None:
    trigger, _, action = rule_of(whisk)
    fired = whisk.post(f"/triggers/{trigger}", json={"x": 1}).json()["activationId"]
    record = whisk.activation(fired)
    [line] = record["logs"]
    keys = ["statusCode", "success", "activationId", "rule", "action"]
    found = [line.index(f'"{key}"') for key in keys]
    assert found == sorted(found)
    [listed] = whisk.get(f"/activations?name={trigger}").json()
    assert listed["statusCode"] == 0
    started = line.partition('"activationId":"')[2][:32]
    headers = whisk.activation(started)["response"]["result"]["__ow_headers"]
    assert "accept" in headers
    assert not {"content-type", "content-length"} & headers.keys()
    assert action


def test_the_state_of_a_rule(whisk: OpenWhisk) -> None:
    path = f"/rules/{rule_of(whisk)[1]}"
    state = "requirement failed: x is not a recognized rule state"
    is_refused(whisk.post(path, json={"status": "x"}), 400, MALFORMED + state)
    is_refused(whisk.post(path, json={}), 400, f"{MALFORMED}key not found: status")
    told = whisk.post(path, json={"status": "inactive"})
    assert told.headers["content-type"] == "text/plain; charset=UTF-8"


def test_a_rule_between_other_things(whisk: OpenWhisk) -> None:
    action, rule = whisk.action(), whisk.name("rules")
    names = {"trigger": f"/_/{action}", "action": f"/_/{action}"}
    text = (
        f"document type class {ENTITY}.WhiskAction did not match expected type class "
        f"{ENTITY}.WhiskTrigger."
    )
    is_refused(whisk.put(f"/rules/{rule}", json=names), 400, text)


def test_a_new_sequence_that_names_itself(whisk: OpenWhisk) -> None:
    name = whisk.name()
    wire = {"exec": {"kind": "sequence", "components": [f"/_/{name}"]}}
    is_refused(whisk.put(f"/actions/{name}", json=wire), 400, "Sequence may not refer to itself.")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"limits": {"memory": "300"}}, "memory limit malformed"),
        ({"limits": []}, "Object expected in field 'timeout'"),
        ({"exec": {"kind": "python:default", "code": 1}}, "Could not deserialize as attachment "),
    ],
)
def test_fields_of_the_wrong_kind(whisk: OpenWhisk, fields: dict[str, Any], text: str) -> None:
    reply = whisk.put("/actions/absent", json=wire("actions", **fields))
    assert reply.status_code == 400
    assert reply.json()["error"].startswith(MALFORMED + text)


def test_bodies_that_are_empty(whisk: OpenWhisk) -> None:
    json = {"content-type": "application/json"}
    for reply in (
        *(whisk.put(f"/{each}/absent", content=b"", headers=json) for each in COLLECTIONS),
        whisk.put("/rules/absent", content=b"", headers=json),
        whisk.post("/rules/absent", content=b"", headers=json),
    ):
        assert reply.status_code == 400
        assert reply.json()["error"].startswith(f"{MALFORMED}Unexpected end-of-input")


@pytest.mark.parametrize("collection", [*COLLECTIONS, "rules"])
def test_a_slash_within_a_name(whisk: OpenWhisk, collection: str) -> None:
    for reply in (
        whisk.get(f"/{collection}/a%2Fb"),
        whisk.put(f"/{collection}/a%2fb", json=wire(collection)),
    ):
        is_refused(reply, 400, "The name of the entity contains illegal characters.")


def test_a_parameter_of_the_environment_that_a_caller_gives(whisk: OpenWhisk) -> None:
    code = "import os\nSEEN = os.environ['SIZE']\ndef main(args): return {**args, 'seen': SEEN}"
    name = whisk.action(code, parameters=[{"key": "SIZE", "value": "1", "init": True}])
    assert whisk.result(name, {"SIZE": "2"}) == {"seen": "2"}
    # What the container began with stays.
    assert whisk.result(name, {"SIZE": "3"}) == {"seen": "2"}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("actions/p/x", "other/p"),
        ("actions/x", "other/x"),
        (f"activations/{'0' * 32}", f"other/{'0' * 32}"),
    ],
)
def test_what_is_named_where_one_may_not_go(whisk: OpenWhisk, path: str, named: str) -> None:
    reply = whisk.http.get(f"/api/v1/namespaces/other/{path}")
    text = f"The supplied authentication is not authorized to access '{named}'."
    is_refused(reply, 403, text)


@pytest.mark.parametrize("authorization", ["Bearer x", "", "Digest y"])
def test_credentials_of_another_kind(whisk: OpenWhisk, authorization: str) -> None:
    headers = {"authorization": authorization}
    reply = local_http.get(
        f"{whisk.access.apihost}/api/v1/namespaces",
        headers=headers,
        verify=not whisk.access.insecure,
    )
    text = "The resource requires authentication, which was not supplied with the request"
    is_refused(reply, 401, text)


def test_where_the_headers_for_other_origins_are(whisk: OpenWhisk) -> None:
    name = whisk.action()
    answered = (
        whisk.get("/actions"),
        whisk.get("/actions/absent"),
        whisk.put(f"/actions/{name}", json=wire("actions")),
        whisk.http.get("/api/v1"),
    )
    assert [reply.headers.get(CORS) for reply in answered] == ["*"] * 4
    rejected = (
        whisk.get("/actions?limit=x"),
        whisk.put(
            f"/actions/{name}?overwrite=true",
            content=b"{",
            headers={"content-type": "application/json"},
        ),
        whisk.put(
            f"/actions/{name}?overwrite=true", content=b"{}", headers={"content-type": "text/plain"}
        ),
        whisk.http.get("/"),
        whisk.http.get("/ping"),
        whisk.http.get("/nowhere"),
    )
    assert [CORS in reply.headers for reply in rejected] == [False] * 6


def test_heads_that_are_too_long(whisk: OpenWhisk) -> None:
    assert whisk.get(f"/actions?name={'x' * 8192}").status_code == 414
    assert whisk.get("/actions", headers={"x-long": "x" * 8193}).status_code == 431
    assert whisk.get("/actions", headers={"x-long": "x" * 8000}).status_code == 200


def test_the_pages_of_information(whisk: OpenWhisk) -> None:
    info = whisk.http.get("/").json()
    limits = info["limits"]
    for name in ("min_action_memory", "max_action_duration", "max_action_logs"):
        assert limits[f"default_{name}"] == limits[name]
    assert all("image" in kind for family in info["runtimes"].values() for kind in family)
    api = whisk.http.get("/api/v1").json()
    assert api["swagger_paths"] == {"ui": "/docs", "api-docs": "/api-docs"}
    assert api["build"].startswith("20")
    assert whisk.get("/limits").json()["maxParameterSize"] == "1048576 B"
    assert whisk.http.get("/ping").headers["content-type"] == "text/plain; charset=UTF-8"


def test_the_description_of_the_api(whisk: OpenWhisk) -> None:
    public = httpx.Client(
        base_url=whisk.access.apihost,
        trust_env=False,
        verify=not whisk.access.insecure,
        timeout=DEADLINE_S,
    )
    with public:
        document = public.get("/api/v1/api-docs").json()
        assert document["swagger"] == "2.0"
        known = document["definitions"].keys()
        assert {"Action", "ActionMeta", "ActionExecMeta", "RuleMeta", "TriggerMeta"} <= known
        moved = public.get("/api/v1/docs")
        assert moved.status_code == 308
        assert moved.headers["location"] == "docs/index.html?url=/api/v1/api-docs"
        assert public.get("/api/v1/docs/index.html").status_code == 200
    assert whisk.http.get("/api/v1/docs/dummy").status_code == 404
    required = document["definitions"]["Action"]["required"]
    assert set(required) <= whisk.get(f"/actions/{whisk.action()}").json().keys()


@pytest.mark.only_embedded("needs the counts for itself, and that they are switched on")
def test_metrics(stock: OpenWhisk) -> None:
    name = stock.action("def main(args): return {'error': 1} if args else {}")
    for payload in ({}, {}, {"x": 1}):
        last = stock.invoke(name, payload)
    stock.ended(last.headers["x-openwhisk-activation-id"])
    assert local_http.get(f"{stock.access.apihost}/metrics").status_code == 401
    page = stock.http.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    labels = f'namespace="guest",initiator="guest",action="{name}"'
    lines = page.text.splitlines()
    kind = annotations(last.json())["kind"]
    for line in (
        f'openwhisk_action_activations_total{{{labels},kind="{kind}",memory="128"}} 3',
        f"openwhisk_action_coldStarts_total{{{labels}}} 1",
        f'openwhisk_action_status{{{labels},status="success"}} 2',
        f'openwhisk_action_status{{{labels},status="application_error"}} 1',
        f"openwhisk_action_duration_seconds_count{{{labels}}} 3",
        f"openwhisk_action_initTime_seconds_count{{{labels}}} 1",
        f'openwhisk_action_response_size_bytes_bucket{{{labels},le="+Inf"}} 3',
        'openwhisk_action_limit_timed_total{namespace="guest"} 0',
    ):
        assert line in lines, page.text


@pytest.mark.only_embedded("through what is between, segments are anybody's")
def test_head_and_body_come_together(whisk: OpenWhisk) -> None:
    url = urlsplit(whisk.access.apihost)
    with contextlib.closing(socket.create_connection((url.hostname, url.port))) as client:
        for _ in range(50):
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(1 << 16).endswith(b"\r\n\r\npong")
