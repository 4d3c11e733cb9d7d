"""Rows 6 to 10, 21 and 50: packages, what is in them, and bindings."""

from __future__ import annotations

import pytest

from tests.support.openwhisk import ECHO, NO_RESOURCE, OpenWhisk, annotations, is_refused

WRONG_COLLECTION = "Resource by this name exists but is not in this collection."
X = {"key": "x", "value": 1}


def test_row_06_a_package_is_made_once(whisk: OpenWhisk) -> None:
    name = whisk.name("packages")
    first = whisk.put(f"/packages/{name}", json={})
    assert (first.status_code, first.json()["version"]) == (200, "0.0.1")
    is_refused(whisk.put(f"/packages/{name}", json={}), 409, "resource already exists")


def test_row_07_a_package_is_updated(whisk: OpenWhisk) -> None:
    name = whisk.package(publish=True, annotations=[{"key": "a", "value": 1}])
    wire = {"parameters": [X], "annotations": [{"key": "b", "value": 2}]}
    second = whisk.put(f"/packages/{name}?overwrite=true", json=wire).json()
    assert (second["version"], second["publish"]) == ("0.0.2", True)
    assert second["parameters"] == [X]
    # Replaced as a whole, unlike those of an action.
    assert annotations(second) == {"b": 2}


def test_row_08_a_reserved_name(whisk: OpenWhisk) -> None:
    is_refused(whisk.put("/packages/default", json={}), 400, "Package name 'default' is reserved.")


def test_row_09_an_action_without_its_package(whisk: OpenWhisk) -> None:
    action = {"exec": {"kind": "python:default", "code": ECHO}}
    is_refused(whisk.put("/actions/nopkg/a", json=action), 404, NO_RESOURCE)
    is_refused(whisk.get("/actions/nopkg/"), 404, NO_RESOURCE)


def test_row_10_one_name_for_one_thing(whisk: OpenWhisk) -> None:
    package = whisk.package()
    action = {"exec": {"kind": "python:default", "code": ECHO}}
    is_refused(whisk.put(f"/actions/{package}", json=action), 409, WRONG_COLLECTION)
    is_refused(whisk.get(f"/triggers/{package}"), 409, WRONG_COLLECTION)
    is_refused(whisk.put(f"/packages/{whisk.action()}", json={}), 409, WRONG_COLLECTION)


def test_row_21_a_package_with_contents(whisk: OpenWhisk) -> None:
    package = whisk.package()
    whisk.action(name=f"{package}/a")
    why = "Package not empty (contains 1 entity). Set force param or delete package contents."
    is_refused(whisk.delete(f"/packages/{package}"), 409, why)
    assert whisk.delete(f"/packages/{package}?force=true").status_code == 200
    assert whisk.get(f"/actions/{package}/a").status_code == 404


def test_row_50_through_a_binding(whisk: OpenWhisk) -> None:
    provider = whisk.package(parameters=[X, {"key": "y", "value": 1}])
    whisk.action(name=f"{provider}/a", parameters=[{"key": "z", "value": 3}])
    bound = whisk.package(
        binding={"namespace": "_", "name": provider}, parameters=[{"key": "y", "value": 2}]
    )
    reply = whisk.invoke(f"{bound}/a", {"w": 4})
    record = reply.json()
    assert record["response"]["result"] == {"x": 1, "y": 2, "z": 3, "w": 4}
    facts = annotations(record)
    assert facts["path"] == f"{whisk.namespace}/{provider}/a"
    assert facts["binding"] == f"{whisk.namespace}/{bound}"
    assert record["namespace"] == whisk.namespace


@pytest.mark.couchdb("the memory store does not find activations by their binding")
def test_activations_are_found_by_their_binding(whisk: OpenWhisk) -> None:
    provider = whisk.package()
    whisk.action(name=f"{provider}/a")
    bound = whisk.package(binding={"namespace": "_", "name": provider})
    record = whisk.invoke(f"{bound}/a").json()
    whisk.activation(record["activationId"])
    found = whisk.get(f"/activations?name={bound}/a").json()
    assert [row["activationId"] for row in found] == [record["activationId"]]


def test_a_binding_is_shown_merged(whisk: OpenWhisk) -> None:
    provider = whisk.package(parameters=[X, {"key": "y", "value": 1}])
    whisk.action(name=f"{provider}/a")
    where = {"namespace": whisk.namespace, "name": provider}
    bound = whisk.package(binding=where, parameters=[{"key": "y", "value": 2}])
    shown = whisk.get(f"/packages/{bound}").json()
    assert (shown["name"], shown["binding"]) == (bound, where)
    assert {p["key"]: p["value"] for p in shown["parameters"]} == {"x": 1, "y": 2}
    assert [action["name"] for action in shown["actions"]] == ["a"]
    assert annotations(shown)["binding"] == where
    listed = {p["name"]: p["binding"] for p in whisk.get("/packages?limit=0").json()}
    assert (listed[bound], listed[provider]) == (where, False)
    [action] = whisk.get(f"/actions/{bound}/").json()
    assert action["namespace"] == f"{whisk.namespace}/{provider}"
    assert whisk.get(f"/actions/{bound}/a").json()["namespace"] == f"{whisk.namespace}/{provider}"


def test_bindings_that_cannot_be(whisk: OpenWhisk) -> None:
    provider = whisk.package()
    bound = whisk.package(binding={"namespace": "_", "name": provider})
    name = whisk.name("packages")

    def bind(package: str, target: str) -> object:
        wire = {"binding": {"namespace": "_", "name": target}}
        return whisk.put(f"/packages/{package}?overwrite=true", json=wire)

    is_refused(bind(name, "absent"), 400, "Binding references a package that does not exist.")
    is_refused(bind(name, bound), 400, "Cannot bind to another package binding.")
    is_refused(bind(name, whisk.action()), 409, "Cannot bind to a resource that is not a package.")
    text = "Resource is a package and cannot be converted into a binding."
    is_refused(bind(provider, whisk.package()), 409, text)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_binding_is_not_written_through(whisk: OpenWhisk, method: str) -> None:
    bound = whisk.package(binding={"namespace": "_", "name": whisk.package()})
    action = {"exec": {"kind": "python:default", "code": ECHO}}
    reply = whisk.request(method, f"/actions/{bound}/a", json=action)
    is_refused(reply, 400, "Operation not permitted on package binding.")


def test_an_emptied_and_a_bound_package_go(whisk: OpenWhisk) -> None:
    provider = whisk.package()
    whisk.action(name=f"{provider}/a")
    bound = whisk.package(binding={"namespace": "_", "name": provider})
    assert whisk.delete(f"/packages/{bound}").status_code == 200
    assert whisk.delete(f"/actions/{provider}/a").status_code == 200
    assert whisk.delete(f"/packages/{provider}").status_code == 200


def test_an_absent_package(whisk: OpenWhisk) -> None:
    absent = f"The requested resource '{whisk.namespace}/absent' does not exist."
    is_refused(whisk.get("/packages/absent"), 404, absent)
    is_refused(whisk.delete("/packages/absent"), 404, NO_RESOURCE)


def test_feeds_are_listed_apart(whisk: OpenWhisk) -> None:
    package = whisk.package()
    whisk.action(name=f"{package}/a")
    whisk.action(name=f"{package}/f", annotations=[{"key": "feed", "value": True}])
    shown = whisk.get(f"/packages/{package}").json()
    assert [each["name"] for each in shown["actions"]] == ["a"]
    assert [each["name"] for each in shown["feeds"]] == ["f"]
