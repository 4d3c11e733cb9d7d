"""Actions that are made of others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.openwhisk import (
    APPLICATION_ERROR,
    NO_RESOURCE,
    OpenWhisk,
    annotations,
    has_failed,
    is_refused,
)

ADD = "def main(args): return {'n': args['n'] + args.get('step', 1)}"


def sequence(whisk: OpenWhisk, *components: str, **wire: Any) -> str:
    paths = [f"/_/{component}" for component in components]
    return whisk.action(exec={"kind": "sequence", "components": paths}, **wire)


def test_components_run_in_turn(whisk: OpenWhisk) -> None:
    package = whisk.package(parameters=[{"key": "step", "value": 10}])
    one, ten = whisk.action(ADD), whisk.action(ADD, name=f"{package}/add", memory=256)
    name = sequence(whisk, one, ten, one)
    reply = whisk.invoke(name, {"n": 0})
    record = reply.json()
    assert reply.status_code == 200
    assert record["response"]["result"] == {"n": 12}
    facts = annotations(record)
    assert (facts["kind"], facts["topmost"]) == ("sequence", True)
    assert facts["path"] == f"{whisk.namespace}/{name}"
    assert facts["limits"]["memory"] == 256
    assert not {"causedBy", "initTime", "timeout"} & facts.keys()
    # Its log is what it was made of, even in the answer.
    assert len(record["logs"]) == 3
    parts = [whisk.activation(each) for each in record["logs"]]
    assert [part["name"] for part in parts] == [one, "add", one]
    assert {part["cause"] for part in parts} == {record["activationId"]}
    assert {annotations(part)["causedBy"] for part in parts} == {"sequence"}
    assert record["duration"] == sum(part["duration"] for part in parts)
    assert "cause" not in record
    assert whisk.activation(record["activationId"]) == record


def test_components_are_shown_resolved(whisk: OpenWhisk) -> None:
    one = whisk.action(ADD)
    shown = whisk.get(f"/actions/{sequence(whisk, one)}").json()
    paths = [f"/{whisk.namespace}/{one}"]
    assert shown["exec"] == {"kind": "sequence", "components": paths}
    assert shown["parameters"] == [{"key": "_actions", "value": paths}]
    assert annotations(shown)["exec"] == "sequence"


def test_an_error_ends_it(whisk: OpenWhisk) -> None:
    fails = whisk.action("def main(args): return {'error': 'stop'}")
    name = sequence(whisk, whisk.action(ADD), fails, whisk.action(ADD))
    record = has_failed(whisk.invoke(name, {"n": 1}), APPLICATION_ERROR, "stop")
    assert len(record["logs"]) == 2


def test_a_sequence_in_a_sequence(whisk: OpenWhisk) -> None:
    one = whisk.action(ADD)
    inner = sequence(whisk, one, one)
    outer = sequence(whisk, inner, one)
    record = whisk.invoke(outer, {"n": 0}).json()
    assert record["response"]["result"] == {"n": 3}
    inside = whisk.activation(record["logs"][0])
    assert inside["cause"] == record["activationId"]
    facts = annotations(inside)
    assert (facts["topmost"], facts["causedBy"]) == (False, "sequence")
    assert whisk.activation(inside["logs"][0])["cause"] == inside["activationId"]


def test_arrays_travel(whisk: OpenWhisk) -> None:
    split = whisk.action("def main(args): return [args['n'], 2]")
    join = whisk.action("def main(args): return {'sum': sum(args)}")
    assert whisk.result(sequence(whisk, split, join), {"n": 1}) == {"sum": 3}
    # As the last result it is given out bare.
    assert whisk.invoke(sequence(whisk, split), {"n": 1}).json() == [1, 2]
    assert whisk.invoke(split, {"n": 1}).json() == [1, 2]


def test_not_blocking(whisk: OpenWhisk) -> None:
    name = sequence(whisk, whisk.action(ADD))
    reply = whisk.post(f"/actions/{name}", json={"n": 1})
    assert reply.status_code == 202
    assert whisk.activation(reply.json()["activationId"])["response"]["result"] == {"n": 2}


def test_a_component_that_has_gone(whisk: OpenWhisk) -> None:
    one = whisk.action(ADD)
    name = sequence(whisk, one)
    whisk.delete(f"/actions/{one}")
    text = "Sequence component does not exist."
    has_failed(whisk.invoke(name, {"n": 1}), APPLICATION_ERROR, text)


def test_sequences_that_cannot_be(whisk: OpenWhisk) -> None:
    one = whisk.action(ADD)

    def put(name: str, *components: str) -> Any:
        wire = {"exec": {"kind": "sequence", "components": components}}
        return whisk.put(f"/actions/{name}?overwrite=true", json=wire)

    is_refused(put("never"), 400, "No component specified for the sequence.")
    is_refused(put("never", *[f"/_/{one}"] * 51), 400, "Too many actions in the sequence.")
    is_refused(put("never", "/_/absent"), 400, "Sequence component does not exist.")
    is_refused(put("never", "/_/absent/a"), 404, NO_RESOURCE)
    around = sequence(whisk, one)
    is_refused(put(one, f"/_/{around}"), 400, "Sequence may not refer to itself.")
    long = sequence(whisk, *[one] * 50)
    is_refused(put("never", f"/_/{long}", f"/_/{one}"), 400, "Too many actions in the sequence.")
    text = "The supplied authentication is not authorized to access 'other/a'."
    is_refused(put("never", "/other/a"), 403, text)


@pytest.mark.parametrize("components", [None, "x", [1], ["a"], ["/_/@"]])
def test_components_that_are_none(whisk: OpenWhisk, components: object) -> None:
    wire = {"exec": {"kind": "sequence", "components": components}}
    reply = whisk.put("/actions/never", json=wire)
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("The request content was malformed:\n")
