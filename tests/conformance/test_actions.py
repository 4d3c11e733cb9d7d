"""Rows 11 to 20: actions as entities."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from tests.support.openwhisk import (
    ECHO,
    NO_RESOURCE,
    OpenWhisk,
    annotations,
    archive,
    is_refused,
)

MIB = 1 << 20
SOURCE = {"kind": "python:default", "code": ECHO}


def test_row_11_an_unknown_kind(whisk: OpenWhisk) -> None:
    reply = whisk.put("/actions/never", json={"exec": {"kind": "foo:1", "code": ""}})
    assert reply.status_code == 400
    assert reply.json()["error"].startswith(
        "The request content was malformed:\n"
        "The specified runtime 'foo:1' is not supported by this platform. Valid values are: '"
    )


def test_row_12_no_exec(whisk: OpenWhisk) -> None:
    is_refused(whisk.put("/actions/never", json={}), 400, "exec undefined")


@pytest.mark.parametrize(
    ("limit", "bound", "step", "what"),
    [
        ("memory", "max_action_memory", 1, "memory size {} MB exceeds allowed threshold of {} MB"),
        ("memory", "min_action_memory", -1, "memory size {} MB below allowed threshold of {} MB"),
        (
            "timeout",
            "max_action_duration",
            1,
            "duration {} milliseconds exceeds allowed threshold of {} milliseconds",
        ),
        (
            "timeout",
            "min_action_duration",
            -1,
            "duration {} milliseconds below allowed threshold of {} milliseconds",
        ),
        ("logs", "max_action_logs", 1, "log size {} MB exceeds allowed threshold of {} MB"),
    ],
)
def test_row_13_limits_out_of_range(
    whisk: OpenWhisk, limit: str, bound: str, step: int, what: str
) -> None:
    allowed = whisk.limits[bound] // (1 if limit == "timeout" else MIB)
    wire = {"exec": SOURCE, "limits": {limit: allowed + step}}
    text = f"requirement failed: {what.format(allowed + step, allowed)}"
    is_refused(whisk.put("/actions/never", json=wire), 400, text)


def test_row_13_limits_that_are_no_numbers(whisk: OpenWhisk) -> None:
    reply = whisk.put("/actions/never", json={"exec": SOURCE, "limits": {"memory": 128.5}})
    text = "The request content was malformed:\nrequirement failed: memory limit must be whole "
    is_refused(reply, 400, f"{text}number")


def test_row_14_binary_is_computed(whisk: OpenWhisk) -> None:
    one_line = archive(main=ECHO, other="x = 1" * 50)
    wrapped = "\n".join(textwrap.wrap(one_line, 76))
    for code, binary in ((one_line, True), (wrapped, False), ("abcd", True), (ECHO, False)):
        exec_wire = {"kind": "python:default", "code": code, "binary": not binary}
        name = whisk.action(exec=exec_wire)
        assert whisk.get(f"/actions/{name}").json()["exec"]["binary"] is binary


def test_row_15_the_default_kind(whisk: OpenWhisk) -> None:
    action = whisk.get(f"/actions/{whisk.action()}").json()
    kind = action["exec"]["kind"]
    assert kind.startswith("python:")
    assert kind != "python:default"
    assert annotations(action) == {"exec": kind, "provide-api-key": False}


def test_row_16_without_the_code(whisk: OpenWhisk) -> None:
    name = whisk.action()
    whole = whisk.get(f"/actions/{name}").json()
    bare = whisk.get(f"/actions/{name}?code=false").json()
    assert whole["exec"].pop("code") == ECHO
    assert bare == whole


def test_row_17_code_that_is_too_large(whisk: OpenWhisk) -> None:
    code = "#" * (48 * MIB + 1)
    reply = whisk.put("/actions/never", json={"exec": {"kind": "python:default", "code": code}})
    is_refused(reply, 413, "exec larger than allowed: 50331649 > 50331648 bytes.")


@pytest.mark.parametrize("field", ["parameters", "annotations"])
def test_fields_that_are_too_large(whisk: OpenWhisk, field: str) -> None:
    wire = {"exec": SOURCE, field: [{"key": "k", "value": "v" * MIB}]}
    reply = whisk.put("/actions/never", json=wire)
    is_refused(reply, 413, f"{field} larger than allowed: {MIB + 3} > {MIB} bytes.")


def test_row_18_updates(whisk: OpenWhisk) -> None:
    name = whisk.action(
        annotations=[{"key": "a", "value": 1}], parameters=[{"key": "x", "value": 1}]
    )

    def update(**wire: Any) -> dict[str, Any]:
        return whisk.put(f"/actions/{name}?overwrite=true", json=wire).json()

    merged = update(annotations=[{"key": "b", "value": 2}])
    assert {"a", "b"} <= annotations(merged).keys()
    assert (merged["version"], merged["parameters"]) == ("0.0.2", [{"key": "x", "value": 1}])
    replaced = update(parameters=[{"key": "y", "value": 2}])
    assert replaced["parameters"] == [{"key": "y", "value": 2}]
    limited = update(limits={"timeout": 1000})
    assert (limited["limits"]["timeout"], limited["limits"]["memory"]) == (1000, 128)
    assert "a" not in annotations(update(delAnnotations=["a"]))
    is_refused(whisk.put(f"/actions/{name}", json={}), 409, "resource already exists")


def test_row_19_lists(whisk: OpenWhisk) -> None:
    names = [whisk.action() for _ in range(3)]
    newest = whisk.get("/actions?limit=3").json()
    assert [action["name"] for action in newest] == names[::-1]
    fields = {"namespace", "name", "version", "publish", "annotations", "limits", "exec", "updated"}
    assert set(newest[0]) == fields
    assert newest[0]["exec"] == {"binary": False}
    everything = whisk.get("/actions?limit=0").json()
    assert 3 <= len(everything) <= 200
    assert whisk.get("/actions/?skip=1&limit=1").json()[0]["name"] == names[1]
    count = whisk.get("/actions?count=true").json()
    assert count["actions"] >= len(everything)
    for query, why in (
        ("limit=201", "The value '201' is not in the range of 0 to 200 for actions."),
        ("limit=-1", "The value '-1' is not in the range of 0 to 200 for actions."),
        ("limit=x", "The value 'x' is not an integer for actions."),
        ("skip=-1", "The value '-1' is not greater than or equal to 0 for actions."),
    ):
        field = query.partition("=")[0]
        text = f"The query parameter '{field}' was malformed:\n{why}"
        is_refused(whisk.get(f"/actions?{query}"), 400, text)


def test_row_20_inherited_parameters(whisk: OpenWhisk) -> None:
    package = whisk.package(parameters=[{"key": "x", "value": 1}])
    name = whisk.action(name=f"{package}/a", parameters=[{"key": "y", "value": 2}])
    assert whisk.result(name, {"x": 9}) == {"x": 9, "y": 2}
    shown = whisk.get(f"/actions/{name}").json()["parameters"]
    assert {pair["key"]: pair["value"] for pair in shown} == {"x": 1, "y": 2}


def test_final_parameters(whisk: OpenWhisk) -> None:
    name = whisk.action(
        annotations=[{"key": "final", "value": True}],
        parameters=[{"key": "x", "value": 1}, {"key": "free", "value": None}],
    )
    assert whisk.result(name, {"y": 1, "free": 2}) == {"x": 1, "y": 1, "free": 2}
    text = "Request defines parameters that are not allowed (e.g., reserved properties)."
    is_refused(whisk.invoke(name, {"x": 2}), 400, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("@", "The name of the entity contains illegal characters."),
        ("a" * 257, "Name segement longer than allowed: 257 > 256."),
    ],
)
def test_names_that_cannot_be(whisk: OpenWhisk, name: str, text: str) -> None:
    is_refused(whisk.get(f"/actions/{name}"), 400, text)
    is_refused(whisk.put(f"/packages/{name}", json={}), 400, text)


@pytest.mark.parametrize("wire", [[], {}, [{"key": "x"}], [{"value": 1}], ["x"]])
def test_parameters_that_are_none(whisk: OpenWhisk, wire: Any) -> None:
    reply = whisk.put("/actions/never?overwrite=true", json={"exec": 1, "parameters": wire})
    assert reply.status_code == 400


def test_deleted_is_gone(whisk: OpenWhisk) -> None:
    name = whisk.action()
    deleted = whisk.delete(f"/actions/{name}")
    assert (deleted.status_code, deleted.json()["name"]) == (200, name)
    is_refused(whisk.get(f"/actions/{name}"), 404, NO_RESOURCE)
    is_refused(whisk.delete(f"/actions/{name}"), 404, NO_RESOURCE)
    is_refused(whisk.invoke(name), 404, NO_RESOURCE)
