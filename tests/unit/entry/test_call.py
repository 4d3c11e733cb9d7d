"""Calls of actions by platforms that are no OpenWhisk."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from disdel.entry.call import ROOT, call, find, load
from disdel.host.assets import actions_dir

LATER_MS = int((time.time() + 3600) * 1000)
MAIN = """
import os, sys, time

calls = 0

def main(args):
    global calls
    calls += 1
    how = args.get("how")
    if how == "raise":
        raise ValueError(args.get("text", ""))
    if how == "exit":
        sys.exit(3)
    if how == "wait":
        before = os.environ["__OW_ACTIVATION_ID"]
        time.sleep(0.05)
        return {"before": before, "after": os.environ["__OW_ACTIVATION_ID"]}
    if how == "change":
        os.environ["ADDED"], os.environ["HOME"] = "1", "/nowhere"
        del os.environ["PATH"]
    if how in ("list", "nan", "set"):
        return {"list": [1], "nan": {"x": float("nan")}, "set": {"x": {1}}}[how]
    names = ("__OW_ACTIVATION_ID", "__OW_DEADLINE")
    return {"seen": args, "calls": calls, "environ": {name: os.environ[name] for name in names}}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "__main__.py").write_text(MAIN)
    return tmp_path


def called(root, arguments, *, action="act", deadline_ms=LATER_MS, parameters=(), name="a" * 32):
    return call(
        action,
        arguments,
        activation_id=name,
        deadline_ms=deadline_ms,
        parameters=parameters,
        root=root,
    )


def test_arguments_lie_above_the_parameters_of_the_action_and_these_above_the_packages(root):
    package, action = {"a": 1, "b": 1, "c": 1}, {"b": 2, "c": 2}
    answer = called(root, {"c": 3}, parameters=(package, action))
    assert answer["seen"] == {"a": 1, "b": 2, "c": 3}
    assert answer["environ"] == {"__OW_ACTIVATION_ID": "a" * 32, "__OW_DEADLINE": str(LATER_MS)}


def test_an_action_stays_loaded_under_whatever_name_and_however_it_was_loaded(root):
    # A bundle of one action is called by the names of its sizes.
    load("act", root)
    names = ("act", "act", "act-512")
    assert [called(root, {}, action=name)["calls"] for name in names] == [1, 2, 3]


def test_an_action_of_this_installation_is_loaded_once():
    assert load("node") is load("node", ROOT)


def test_the_environment_is_afterwards_what_it_was(root):
    before = dict(os.environ)
    assert "seen" in called(root, {"how": "change"})
    assert dict(os.environ) == before


def test_calls_of_several_threads_do_not_see_each_other(root):
    answers = {}

    def one(name):
        answers[name] = called(root, {"how": "wait"}, name=name)

    threads = [threading.Thread(target=one, args=(str(n) * 32,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer == {"before": name, "after": name} for name, answer in answers.items())
    assert len(answers) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"how": "raise", "text": "no such shard"}, "no such shard"),
        ({"how": "raise"}, "ValueError"),
        ({"how": "exit"}, "3"),
        ({"how": "list"}, "act answered list, which is no JSON object"),
        ({"how": "nan"}, "Out of range float values are not JSON compliant"),
        ({"how": "set"}, "Object of type set is not JSON serializable"),
    ],
    ids=str,
)
def test_what_is_no_answer_is_an_error(root, arguments, said):
    assert called(root, arguments)["error"].startswith(said)


def test_what_lies_past_its_deadline_does_not_begin(root):
    late = called(root, {}, deadline_ms=int(time.time() * 1000) - 1)
    assert late == {"error": "act did not begin by its deadline"}
    assert called(root, {})["calls"] == 1


def test_who_waits_for_its_turn_waits_until_its_deadline(root):
    begun, ends = threading.Event(), threading.Event()
    load("act", root).__globals__["time"] = type(
        "Slow", (), {"sleep": staticmethod(lambda _: (begun.set(), ends.wait(60)))}
    )
    busy = threading.Thread(target=called, args=(root, {"how": "wait"}))
    busy.start()
    assert begun.wait(60)
    try:
        late = called(root, {}, deadline_ms=int((time.time() + 0.05) * 1000))
    finally:
        ends.set()
        busy.join()
    assert "this process was still busy" in late["error"]


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ({"store": "rediss://user:p%40ss@host:6379/0"}, "rediss://user:p%40ss@host:6379/0"),
        ({"store": "rediss://user:p%40ss@host:6379/0"}, "p@ss"),
        ({"store": "rediss://user:p%40ss@host:6379/0"}, "p%40ss"),
        ({"client_secret": "feedbeef"}, "feedbeef"),
        ({"env": {"TOKEN": "feedbeef"}}, "feedbeef"),
    ],
    ids=str,
)
def test_no_secret_gets_into_the_log_or_the_answer(root, capfd, secret, told):
    answer = called(root, {"how": "raise", "text": f"cannot use {told}"}, parameters=(secret,))
    log = capfd.readouterr()
    assert answer == {"error": "cannot use ***"}
    assert "cannot use ***" in log.err
    assert told not in log.err + log.out


@pytest.mark.parametrize("folder", ["actions", "disdel/_actions"])
def test_one_of_several_actions_is_found_by_its_name_alone(tmp_path, folder):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/__main__.py").write_text("def main(args): return {'found': 'it'}")
    for name in ("train", "evaluate"):
        (tmp_path / folder / name).mkdir(parents=True)
        code = f"def main(args): return {{'name': '{name}'}}"
        (tmp_path / folder / name / "__main__.py").write_text(code)
    for name in ("train", "evaluate"):
        assert called(tmp_path, {}, action=name) == {"name": name}
    for name in ("other", "../secret", "", ".", "/secret", "train/../../secret"):
        said = called(tmp_path, {}, action=name)["error"]
        assert said == f"there is no action {name!r} here, only evaluate, train"


def test_the_actions_of_this_installation_are_found():
    for main in actions_dir().glob("*/__main__.py"):
        assert find(main.parent.name) == main


def test_it_imports_the_standard_library_alone():
    told = "import sys, disdel.entry.call; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", told],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {*sys.stdlib_module_names, "disdel", "__main__"}
