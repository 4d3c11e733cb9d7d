"""Compositions: a conductor action says at each step which action comes next."""

from __future__ import annotations

import json

import pytest

from tests.support.openwhisk import ECHO, OpenWhisk, annotations

# As upstream's test actions: the conductor forwards, the step counts.
CONDUCTOR = (
    "def main(args):\n"
    "    action, state, params = (args.pop(k, None) for k in ('action', 'state', 'params'))\n"
    "    if action is None: return args\n"
    "    said = {'action': action, 'params': {**args, **(params or {})}}\n"
    "    return said if state is None else {**said, 'state': state}\n"
)
STEP = (
    "def main(args):\n"
    "    return {'n': args['n'] + 1} if 'n' in args else {'error': 'missing parameter'}\n"
)
MARK = [{"key": "conductor", "value": True}]


@pytest.fixture(scope="module")
def conductor(whisk):
    return whisk.action(CONDUCTOR, annotations=MARK)


@pytest.fixture(scope="module")
def echo(whisk):
    return whisk.action(ECHO, annotations=MARK)


@pytest.fixture(scope="module")
def step(whisk):
    return whisk.action(STEP, memory=256)


def run(whisk: OpenWhisk, name, payload, steps):
    """The response of a composition, whose record is held against those of its steps."""
    record = whisk.invoke(name, payload).json()
    composed = whisk.activation(record["activationId"])
    assert composed["logs"] == record["logs"]
    assert len(composed["logs"]) == steps
    said = annotations(composed)
    assert (said["topmost"], said["kind"], said["conductor"]) == (True, "sequence", True)
    inner = [whisk.activation(step) for step in composed["logs"]]
    assert all(one["cause"] == composed["activationId"] for one in inner)
    assert all(annotations(one)["causedBy"] == "sequence" for one in inner)
    assert composed["duration"] == sum(one["duration"] for one in inner)
    memory = max(annotations(one)["limits"]["memory"] for one in inner)
    assert said["limits"]["memory"] == memory
    return composed["response"]


def test_a_conductor_without_a_next_action_is_an_action(whisk, echo):
    payload = {"payload": "x", "state": "x"}
    assert run(whisk, echo, payload, 1)["result"] == payload
    failed = run(whisk, echo, {"error": "x"}, 1)
    assert (failed["status"], failed["result"]) == ("application error", {"error": "x"})


def test_params_without_a_next_action_are_the_result(whisk, echo):
    payload = {"params": {"payload": "x"}, "result": "y", "state": "z"}
    assert run(whisk, echo, payload, 1)["result"] == {"payload": "x"}
    assert run(whisk, echo, {"params": 7}, 1)["result"] == {"value": 7}


@pytest.mark.parametrize("named", ["a b@@@ÿ", "/one", 7, "a/b/c/d"])
def test_a_name_that_is_none_is_told_to_the_conductor(whisk, echo, named):
    failed = run(whisk, echo, {"payload": "x", "action": named}, 2)
    assert failed["status"] == "application error"
    text = json.dumps(named, ensure_ascii=False)
    why = f"Failed to parse action name from json value {text} during composition."
    assert failed["result"]["error"] == why


def test_an_action_that_is_not_there_is_told_to_the_conductor(whisk, echo):
    failed = run(whisk, echo, {"action": "nosuch"}, 2)
    why = f"Failed to resolve action with name '{whisk.namespace}/nosuch' during composition."
    assert failed["result"] == {"error": why}
    foreign = run(whisk, echo, {"action": "/somebody/else"}, 2)
    why = "Failed entitlement check for action with name 'somebody/else' during composition."
    assert foreign["result"] == {"error": why}


def test_the_next_action_runs_and_the_conductor_again(whisk, conductor, step):
    assert run(whisk, conductor, {"action": step, "n": 1}, 3)["result"] == {"n": 2}
    failed = run(whisk, conductor, {"action": step}, 3)
    assert (failed["status"], failed["result"]["error"]) == (
        "application error",
        "missing parameter",
    )


def test_the_state_comes_back(whisk, conductor, step):
    kept = {"action": step, "state": {"witness": 42}, "n": 1}
    assert run(whisk, conductor, kept, 3)["result"] == {"n": 2, "witness": 42}
    twice = {"action": step, "state": {"action": step}, "n": 1}
    assert run(whisk, conductor, twice, 5)["result"] == {"n": 3}


def test_compositions_in_compositions(whisk, conductor, step):
    nested = {"action": conductor, "params": {"action": step}, "n": 1}
    assert run(whisk, conductor, nested, 3)["result"] == {"n": 2}
    deep = {
        "action": conductor,
        "state": {"action": step},
        "params": {"action": conductor, "state": {"action": step}, "params": {"action": step}},
        "n": 1,
    }
    assert run(whisk, conductor, deep, 5)["result"] == {"n": 4}


def test_a_sequence_in_a_composition_and_the_other_way_round(whisk, conductor, step):
    def sequence(*components):
        name = whisk.name()
        made = {"exec": {"kind": "sequence", "components": [f"/_/{one}" for one in components]}}
        assert whisk.put(f"/actions/{name}", json=made).status_code == 200
        return name

    inner = sequence(step, step)
    assert run(whisk, conductor, {"action": inner, "n": 1}, 3)["result"] == {"n": 3}
    outer = sequence(conductor, step)
    assert whisk.result(outer, {"action": step, "n": 1}) == {"n": 3}


def test_a_composition_through_a_binding(whisk, step):
    package, binding = whisk.package(), whisk.name("packages")
    name = whisk.action(ECHO, name=f"{package}/echo", annotations=MARK).partition("/")[2]
    bound = {"binding": {"namespace": whisk.namespace, "name": package}}
    assert whisk.put(f"/packages/{binding}", json=bound).status_code == 200
    record = whisk.invoke(f"{binding}/{name}", {"a": 1}).json()
    assert record["response"]["result"] == {"a": 1}
    assert annotations(record)["binding"] == f"{whisk.namespace}/{binding}"


@pytest.mark.only_embedded("a hundred activations want a generous rate")
def test_a_composition_ends(whisk, step):
    code = f"def main(args): return {{'action': '{step}', 'params': {{'n': 1}}}}"
    endless = whisk.action(code, annotations=MARK)
    record = whisk.invoke(endless).json()
    if "response" not in record:
        record = whisk.activation(record["activationId"])
    assert record["response"]["result"] == {"error": "Too many actions in the composition."}
    assert len(record["logs"]) <= 3 * 50 + 1


@pytest.mark.only_embedded("thousands of activations want a generous rate")
@pytest.mark.parametrize("value", [False, 0, "", None])
def test_an_annotation_that_is_not_truthy_makes_no_conductor(whisk, value):
    plain = whisk.action(ECHO, annotations=[{"key": "conductor", "value": value}])
    assert whisk.result(plain, {"action": "x", "params": {}}) == {"action": "x", "params": {}}
