"""Random requests: no answer is a bug's, none is missing, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.openwhisk import ECHO, OpenWhisk
from tests.support.platforms import embedded

pytestmark = pytest.mark.only_embedded("500 random requests are nothing for a shared namespace")

REQUESTS = 500
CODES = (
    "def main(args): return args",
    "def main(args): return [1]",
    "def main(args): raise ValueError('no')",
    "def main(args): import os; os._exit(1)",
    "def main(args): return 7",
    "import nowhere",
    "abcd",
    "",
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def weighted(*choices: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One of several, as often as its weight says; `one_of` leaves out what repeats."""
    slots = [choice for weight, choice in choices for _ in range(weight)]
    return st.sampled_from(range(len(slots))).flatmap(slots.__getitem__)


def mostly(good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = json_values) -> Any:
    """Seven times in eight what could be meant."""
    return weighted((7, good), (1, odd))


def fields(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required or {}, optional=optional)


# Few names, so that requests meet the entities that others have made.
good_names = st.sampled_from(["a", "b", "c", "p", "q"])
odd_names = st.sampled_from(["_", "guest", "@", "", "é", "a b", "x" * 257, "%2F", ".."])
names = mostly(good_names, odd_names)
packaged = st.sampled_from(["a", "b", "q/a", "q/b", "p/a"])
paths = mostly(
    packaged.map(lambda name: f"/_/{name}"),
    st.sampled_from(["/guest/a", "/other/a", "a", "//", "/_/p/q/a"]),
)
pairs = st.lists(
    fields({"key": st.sampled_from(["x", "final", "feed", "conductor"]), "value": json_values}),
    max_size=2,
)
limits = fields(
    memory=mostly(st.just(128), st.sampled_from([256, 5000, 1.5, -1])),
    timeout=mostly(st.just(500), st.sampled_from([10**9, 1.5])),
    logs=st.sampled_from([0, 1, 11]),
    instances=json_values,
)
code = fields(
    {
        "kind": mostly(
            st.sampled_from(["python:3", "python:default", "PYTHON:3.11"]), st.just("ruby:9")
        ),
        "code": mostly(st.sampled_from(CODES)),
    },
    main=st.sampled_from(["main", "go"]),
)
sequence = fields({"kind": st.just("sequence"), "components": st.lists(paths, max_size=3)})
blackbox = fields(
    {"kind": st.just("blackbox"), "image": mostly(st.sampled_from(["a/b", "A b", "x" * 300]))},
    code=json_values,
)
common = {
    "parameters": mostly(pairs),
    "annotations": mostly(pairs),
    "publish": mostly(st.booleans()),
    "version": mostly(st.just("1.0.0"), st.just("x")),
}
actions = fields(
    {"exec": mostly(st.one_of(code, code, sequence, blackbox))},
    limits=limits,
    delAnnotations=st.lists(st.text(max_size=3), max_size=2),
    **common,
)
packages = fields(
    binding=fields({"namespace": st.sampled_from(["_", "other"]), "name": names}), **common
)
rules = fields({"trigger": mostly(st.just("/_/t"), paths), "action": paths}, **common)
switches = fields({"status": mostly(st.sampled_from(["active", "inactive"]))})
payloads = mostly(st.dictionaries(st.text(max_size=3), json_values, max_size=2))

switch = st.sampled_from(["true", "false", "yes", "0", "maybe"])
numbers = st.sampled_from(["0", "1", "30", "200", "201", "-1", "x", "", "9" * 30])
queries = fields(
    overwrite=mostly(st.just("true"), switch),
    blocking=mostly(st.just("true"), switch),
    result=switch,
    timeout=mostly(st.just("60000"), numbers),
    limit=numbers,
    skip=numbers,
    count=switch,
    docs=switch,
    since=numbers,
    upto=numbers,
    name=st.sampled_from(["a", "p/a", "a/b/c", "", "@"]),
    force=switch,
    code=switch,
)
few_queries = mostly(st.just({"overwrite": "true", "blocking": "true", "force": "true"}), queries)


def aimed(method: str, path: str, name: Any, body: Any = None) -> st.SearchStrategy[Any]:
    """Requests that one of the routes is for."""
    targets = name.map(lambda name: f"/api/v1/namespaces/_/{path}/{name}")
    content = st.none() if body is None else body.map(json.dumps)
    return st.tuples(st.just(method), targets, few_queries, content, st.just("application/json"))


collections = st.sampled_from(["actions", "packages", "triggers", "rules", "activations", "limits"])
wild = st.tuples(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
    st.tuples(
        st.sampled_from(["/api/v1/namespaces", "/api/v1/web", "/api/v1", ""]),
        st.sampled_from(["_", "guest", "other", "@"]),
        collections | names,
        st.lists(names, max_size=3).map("/".join),
    ).map("/".join),
    queries,
    st.one_of(st.none(), st.binary(max_size=20), json_values.map(json.dumps)),
    st.sampled_from(["application/json", "application/json; charset=utf-8", "text/plain", ""]),
)
requests = weighted(
    (5, aimed("PUT", "actions", packaged, actions)),
    (6, aimed("POST", "actions", packaged, payloads)),
    (2, aimed("PUT", "packages", st.sampled_from(["p", "q"]), packages)),
    (2, aimed("PUT", "triggers", st.just("t"), fields(**common))),
    (2, aimed("PUT", "rules", st.just("r"), rules)),
    (1, aimed("POST", "rules", st.just("r"), switches)),
    (2, aimed("POST", "triggers", st.just("t"), payloads)),
    *((1, aimed("GET", collection, names)) for collection in ("actions", "packages", "rules")),
    *((1, aimed("GET", collection, st.just(""))) for collection in ("actions", "activations")),
    (1, aimed("DELETE", "actions", packaged)),
    (1, aimed("DELETE", "triggers", st.just("t")) | aimed("DELETE", "packages", st.just("p"))),
    (3, wild),
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWhisk]:
    with embedded(tmp_path_factory.mktemp("fuzz"), user_memory_mb=512) as user:
        for package in ("p", "q"):
            user.put(f"/packages/{package}", json={})
        # They go with the platform: what a request has made of their packages may keep them.
        for name in ("a", "p/a", "q/a"):
            wire = {"exec": {"kind": "python:default", "code": ECHO}, "limits": {"memory": 128}}
            made = user.put(f"/actions/{name}", json=wire)
            assert made.status_code == 200, made.text
        yield user


@settings(max_examples=REQUESTS, deadline=None, derandomize=True, database=None)
@given(requests)
def test_random_requests(target: OpenWhisk, request: Any) -> None:
    method, path, query, body, content_type = request
    headers = {"content-type": content_type} if content_type else {}
    # A client whose patience ends has met a hang, and raises.
    reply = target.http.request(method, path, params=query, content=body, headers=headers)
    of_an_action = "x-openwhisk-activation-id" in reply.headers
    assert reply.status_code < 500 or of_an_action, reply.text
    if reply.status_code >= 400 and reply.content and not of_an_action:
        assert reply.json().keys() == {"error", "code"}
    if of_an_action:
        # It comes to an end, whatever it is.
        target.activation(reply.headers["x-openwhisk-activation-id"])
