"""Triggers, and the rules by which they invoke actions."""

from __future__ import annotations

import json

import pytest

from tests.support.openwhisk import NO_RESOURCE, OpenWhisk, is_refused


def trigger(whisk: OpenWhisk, **wire: object) -> str:
    name = whisk.name("triggers")
    reply = whisk.put(f"/triggers/{name}", json=wire)
    assert reply.status_code == 200, reply.text
    return name


def rule(whisk: OpenWhisk, of: str, action: str) -> str:
    name = whisk.name("rules")
    wire = {"trigger": f"/_/{of}", "action": f"/_/{action}"}
    reply = whisk.put(f"/rules/{name}", json=wire)
    assert reply.status_code == 200, reply.text
    return name


def test_a_trigger_is_made_updated_and_deleted(whisk: OpenWhisk) -> None:
    name = trigger(whisk, parameters=[{"key": "x", "value": 1}])
    shown = whisk.get(f"/triggers/{name}").json()
    assert (shown["version"], shown["limits"]) == ("0.0.1", {})
    assert (shown["namespace"], shown["annotations"]) == (whisk.namespace, [])
    is_refused(whisk.put(f"/triggers/{name}", json={}), 409, "resource already exists")
    updated = whisk.put(f"/triggers/{name}?overwrite=true", json={"publish": True}).json()
    assert (updated["version"], updated["publish"]) == ("0.0.2", True)
    assert updated["parameters"] == shown["parameters"]
    listed = whisk.get("/triggers?limit=200").json()
    assert name in [each["name"] for each in listed]
    assert whisk.get("/triggers?count=true").json()["triggers"] >= 1
    assert whisk.delete(f"/triggers/{name}").status_code == 200
    is_refused(whisk.get(f"/triggers/{name}"), 404, NO_RESOURCE)


def test_a_rule_is_made_updated_and_deleted(whisk: OpenWhisk) -> None:
    of, action, other = trigger(whisk), whisk.action(), whisk.action()
    name = rule(whisk, of, action)
    shown = whisk.get(f"/rules/{name}").json()
    assert shown["status"] == "active"
    assert shown["trigger"] == {"path": whisk.namespace, "name": of}
    assert shown["action"] == {"path": whisk.namespace, "name": action}
    link = whisk.get(f"/triggers/{of}").json()["rules"][f"{whisk.namespace}/{name}"]
    assert link == {"action": shown["action"], "status": "active"}
    off = whisk.post(f"/rules/{name}", json={"status": "inactive"})
    assert off.status_code == 200
    wire = {"trigger": f"/_/{of}", "action": f"/_/{other}"}
    updated = whisk.put(f"/rules/{name}?overwrite=true", json=wire).json()
    assert (updated["version"], updated["status"]) == ("0.0.2", "inactive")
    assert updated["action"]["name"] == other
    listed = whisk.get("/rules?limit=200").json()
    assert name in [each["name"] for each in listed]
    assert whisk.delete(f"/rules/{name}").status_code == 200
    assert not whisk.get(f"/triggers/{of}").json().get("rules")


def test_firing(whisk: OpenWhisk) -> None:
    of = trigger(whisk, parameters=[{"key": "x", "value": 1}, {"key": "y", "value": 1}])
    on, off = rule(whisk, of, whisk.action()), rule(whisk, of, whisk.action())
    whisk.post(f"/rules/{off}", json={"status": "inactive"})
    reply = whisk.post(f"/triggers/{of}", json={"y": 2})
    assert reply.status_code == 202
    assert reply.headers["x-openwhisk-activation-id"] == reply.json()["activationId"]
    record = whisk.activation(reply.json()["activationId"])
    assert record["response"]["result"] == {"y": 2}
    assert not {"end", "duration"} & record.keys()
    outcomes = {each["rule"]: each for each in map(json.loads, record["logs"])}
    invoked = outcomes[f"{whisk.namespace}/{on}"]
    assert (invoked["success"], invoked["statusCode"]) == (True, 0)
    result = whisk.activation(invoked["activationId"])["response"]["result"]
    assert {key: result[key] for key in "xy"} == {"x": 1, "y": 2}
    skipped = outcomes[f"{whisk.namespace}/{off}"]
    assert skipped["success"] is False
    assert "is inactive" in skipped["error"]


def test_firing_for_nobody(whisk: OpenWhisk) -> None:
    reply = whisk.post(f"/triggers/{trigger(whisk)}", json={})
    assert (reply.status_code, reply.content) == (204, b"")
    is_refused(whisk.post("/triggers/absent", json={}), 404, NO_RESOURCE)


def test_a_rule_outlives_its_trigger(whisk: OpenWhisk) -> None:
    of = trigger(whisk)
    name = rule(whisk, of, whisk.action())
    whisk.delete(f"/triggers/{of}")
    assert whisk.get(f"/rules/{name}").json()["status"] == "inactive"
    reply = whisk.post(f"/rules/{name}", json={"status": "active"})
    is_refused(reply, 404, "Only rules with existing triggers can be activated")


def test_rules_that_cannot_be(whisk: OpenWhisk) -> None:
    of, action = trigger(whisk), whisk.action()
    where = f"/{whisk.namespace}"
    for wire, text in (
        ({}, "rule requires a valid trigger and a valid action"),
        ({"trigger": f"/_/{of}"}, "rule requires a valid trigger and a valid action"),
        (
            {"trigger": "/_/absent", "action": f"/_/{action}"},
            f"trigger {where}/absent does not exist",
        ),
        ({"trigger": f"/_/{of}", "action": "/_/absent"}, f"action {where}/absent does not exist"),
    ):
        is_refused(whisk.put("/rules/never", json=wire), 400, text)


@pytest.mark.parametrize("status", ["on", "", None, 1])
def test_states_that_cannot_be(whisk: OpenWhisk, status: object) -> None:
    name = rule(whisk, trigger(whisk), whisk.action())
    reply = whisk.post(f"/rules/{name}", json={"status": status})
    assert reply.status_code == 400


def test_a_feed_needs_a_name(whisk: OpenWhisk) -> None:
    wire = {"annotations": [{"key": "feed", "value": "a/@"}]}
    is_refused(whisk.put("/triggers/never", json=wire), 400, "Feed name is not valid")
