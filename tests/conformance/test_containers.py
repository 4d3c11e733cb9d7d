"""Rows 42 to 44 and 49: which container runs what, and what it knows."""

from __future__ import annotations

import concurrent.futures
import itertools
import time
from pathlib import Path

import pytest

from tests.support.openwhisk import OpenWhisk, annotations, archive, is_cold

# A module is imported once in the life of a container.
WHERE = (
    "import os, time, uuid\n"
    "CONTAINER = uuid.uuid4().hex\n"
    "def main(args):\n"
    "    begun = time.time()\n"
    "    time.sleep(args.get('s', 0))\n"
    "    while 'until' in args and not os.path.exists(args['until']): time.sleep(0.01)\n"
    "    return {'container': CONTAINER, 'begun': begun, 'ended': time.time()}\n"
)


def test_row_42_cold_warm_and_cold_again(whisk: OpenWhisk) -> None:
    name = whisk.action(WHERE)
    first, second = (whisk.invoke(name).json() for _ in range(2))
    whisk.action(WHERE, name=name)
    third = whisk.invoke(name).json()
    assert [is_cold(record) for record in (first, second, third)] == [True, False, True]
    seen = [record["response"]["result"]["container"] for record in (first, second, third)]
    assert seen[0] == seen[1] != seen[2]


def test_the_same_action_made_again_is_still_warm(whisk: OpenWhisk) -> None:
    name = whisk.action(WHERE)
    first = whisk.result(name)
    whisk.delete(f"/actions/{name}")
    whisk.action(WHERE, name=name)
    if whisk.embedded:
        # So does the older scheduler; the newer one also looks at the document's revision.
        assert whisk.result(name)["container"] == first["container"]
    else:
        assert whisk.result(name)["container"]


@pytest.mark.only_embedded("needs a pool whose size it knows, and for itself")
def test_row_43_eviction_and_the_queue(stock: OpenWhisk, tmp_path: Path) -> None:
    a, b, c = (stock.action(WHERE) for _ in range(3))
    first = {name: stock.result(name)["container"] for name in (a, b)}
    # A is the least recently used of two that fill the pool.
    stock.result(c)
    assert stock.result(b)["container"] == first[b]
    assert stock.result(a)["container"] != first[a]
    go = tmp_path / "go"
    busy, later = {"until": str(go)}, {}
    begun = [
        stock.post(f"/actions/{name}", json=arguments).json()["activationId"]
        for name, arguments in ((a, busy), (b, busy), (c, later))
    ]
    go.touch()
    *ended, queued = map(stock.activation, begun)
    ends = [record["end"] for record in ended]
    # The queue's wait ended when the first of the two had, give or take the clock's millisecond.
    assert queued["start"] >= min(ends) - 1
    assert annotations(queued)["waitTime"] > 0


def test_row_44_side_by_side(whisk: OpenWhisk) -> None:
    name = whisk.action(WHERE)
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        runs = [*threads.map(lambda _: whisk.result(name, {"s": 1}), range(6))]
    assert len({run["container"] for run in runs}) >= 3
    for one, other in itertools.combinations(runs, 2):
        if one["container"] == other["container"]:
            assert one["ended"] <= other["begun"] or other["ended"] <= one["begun"]


@pytest.mark.parametrize("wanted", [False, True])
def test_row_49_the_key(whisk: OpenWhisk, wanted: bool) -> None:
    code = "import os\ndef main(args): return dict(os.environ)"
    name = whisk.action(code, annotations=[{"key": "provide-api-key", "value": wanted}])
    seen = whisk.result(name)
    assert seen.get("__OW_API_KEY") == (whisk.access.auth if wanted else None)


def test_what_an_action_knows_of_itself(whisk: OpenWhisk) -> None:
    code = "import os\nAT_IMPORT = dict(os.environ)\ndef main(args): return dict(os.environ)"
    package = whisk.package()
    name = whisk.action(code, name=f"{package}/a")
    reply = whisk.invoke(name)
    seen = reply.json()["response"]["result"]
    assert seen["__OW_ACTION_NAME"] == f"/{whisk.namespace}/{package}/a"
    assert seen["__OW_NAMESPACE"] == whisk.namespace
    assert seen["__OW_ACTION_VERSION"] == "0.0.1"
    assert seen["__OW_ACTIVATION_ID"] == reply.headers["x-openwhisk-activation-id"]
    assert seen["__OW_TRANSACTION_ID"]
    assert seen["__OW_API_HOST"].startswith("http")
    assert abs(int(seen["__OW_DEADLINE"]) / 1000 - 60 - time.time()) < 30


def test_parameters_for_the_import(whisk: OpenWhisk) -> None:
    code = "import os\nSEEN = os.environ['SIZE']\ndef main(args): return {**args, 'seen': SEEN}"
    size = {"key": "SIZE", "value": [1, {"a": 2}], "init": True}
    name = whisk.action(code, parameters=[size])
    assert whisk.get(f"/actions/{name}").json()["parameters"] == [size]
    assert whisk.result(name, {"x": 1}) == {"x": 1, "seen": '[1,{"a":2}]'}


def test_a_zip_with_modules(whisk: OpenWhisk) -> None:
    code = archive(main="from helper import go as main", helper="def go(args): return {'n': 2}")
    name = whisk.action(exec={"kind": "python:default", "code": code})
    assert whisk.result(name) == {"n": 2}


def test_another_entry_function(whisk: OpenWhisk) -> None:
    wire = {"kind": "python:default", "code": "def go(args): return {'n': 2}", "main": "go"}
    name = whisk.action(exec=wire)
    assert whisk.get(f"/actions/{name}").json()["exec"]["main"] == "go"
    assert whisk.result(name) == {"n": 2}
