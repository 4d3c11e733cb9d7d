"""Actions in children of somebody else's worker."""

import base64
import contextlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import psutil
import pytest

from disdel.entry.answering import Answering
from disdel.entry.containers import ENFORCEMENT, Containers
from disdel.protocol.calls import CALLS_VERSION, code_digest
from tests.support.processes import has_ended
from tests.support.waiting import wait_until, wait_until_none

pytestmark = pytest.mark.skipif(ENFORCEMENT == "none", reason="there is no /proc")

CODE = """
import os, random, subprocess, sys, tempfile, time

kept = {"calls": 0}

def main(args):
    kept["calls"] += 1
    exec(args.get("do", ""))
    return {"calls": kept["calls"], **args.get("answer", {})}
"""

GROWS = "kept = [bytearray(1 << 20) for _ in range(1000) if not time.sleep(.001)]"


def zipped(main=CODE):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", textwrap.dedent(main))
    return buffer.getvalue()


def request(code=None, **changes):
    code = zipped() if code is None else code
    arguments = {name: changes.pop(name) for name in ("do", "answer") if name in changes}
    return {
        "disdel": CALLS_VERSION,
        "do": "call",
        "key": "p/act/1",
        "action": "act",
        "digest": code_digest(code),
        "code": base64.b64encode(code).decode(),
        "arguments": arguments,
        "activation_id": "a" * 32,
        "timeout_s": 20.0,
        "memory_mb": 256,
        "reply_bytes": 10_000,
        "room_mb": 256,
        **changes,
    }


@pytest.fixture
def answering(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    containers = Containers()
    yield Answering(containers)
    containers.close()
    assert not children()
    assert not list(tmp_path.iterdir())


def children(parent=None):
    found = []
    for child in psutil.Process(parent).children():
        with contextlib.suppress(psutil.Error, OSError):
            if any(part.endswith("container.py") for part in child.cmdline()):
                found.append(child)
    return found


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_code_is_asked_for_once(answering):
    asked = request()
    sent = {name: value for name, value in asked.items() if name != "code"}
    assert answering.answer(sent) == {"disdel": CALLS_VERSION, "wants": asked["digest"]}
    assert answering.answer(asked)["result"] == {"calls": 1}
    assert answering.answer(sent)["result"] == {"calls": 2}


def test_code_that_was_cut_is_refused(answering):
    asked = request()
    asked["code"] = asked["code"][:-8]
    assert "was cut" in answering.answer(asked)["refused"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "no request of disdel's"),
        ({"disdel": CALLS_VERSION - 1}, "update disdel where the request comes from"),
        ({"disdel": CALLS_VERSION + 1}, "update disdel where this entry runs"),
        ({"disdel": CALLS_VERSION, "do": "dance"}, "no such request as 'dance'"),
        ({"disdel": CALLS_VERSION, "do": "call"}, "KeyError: 'digest'"),
        ([1], "no request of disdel's"),
    ],
)
def test_what_is_not_understood_is_refused_by_a_sentence(answering, asked, said):
    assert said in answering.answer(asked)["refused"]


def test_a_deployed_library_finds_a_runs_own_files_beside_itself(answering, tmp_path_factory):
    answering.library = tmp_path_factory.mktemp("deployed")
    for package in ("disdel", "openwhisk_local"):
        (answering.library / package).mkdir()
        (answering.library / package / "__init__.py").write_text("")
    (answering.library / "disdel/where.py").write_text(
        "from pathlib import Path\n"
        "from disdel.alone import NAME\n"
        "OWN = (Path(__file__).parents[1] / 'own.txt').read_text() + NAME\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "__main__.py", "from disdel.where import OWN\nmain = lambda _: {'own': OWN}"
        )
        archive.writestr("own.txt", "mine")
        # As a module that one action alone has.
        archive.writestr("disdel/alone.py", "NAME = ' alone'")
    assert answering.answer(request(buffer.getvalue()))["result"] == {"own": "mine alone"}


def test_packages_share_no_child(answering):
    for key in ("p/act/1", "q/act/1"):
        asked = request(key=key, do="os.environ['LEFT'] = 'x'; random.seed(1)")
        assert answering.answer(asked)["result"]["calls"] == 1
    asked = request(key="q/act/1", do="assert 'LEFT' not in os.environ")
    assert answering.answer(asked)["ending"] == "success"


def test_calls_at_the_same_time_share_no_child(answering):
    records = []

    def ask(number):
        do = "time.sleep(0.2); kept['me'] = args['answer']['n']; time.sleep(0.2)"
        records.append((number, answering.answer(request(do=do, answer={"n": number}))))

    threads = [threading.Thread(target=ask, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(n, r["result"]) for n, r in sorted(records)] == [
        (n, {"calls": 1, "n": n}) for n in range(3)
    ]


def test_fifty_warm_calls_of_which_one_dies_leave_little(answering):
    write = "open(tempfile.mkstemp()[1], 'wb').write(bytes(4 << 20)); print('x' * 100_000)"
    for number in range(50):
        do = write + ("; os._exit(1)" if number == 20 else "")
        ending = answering.answer(request(do=do))["ending"]
        assert ending == ("vanished" if number == 20 else "success")
        assert size_of(answering.containers.folder) < 100 << 20


def test_room_is_made_for_another_action(answering):
    for key in ("p/a", "p/b", "p/c"):
        assert answering.answer(request(key=key, memory_mb=128))["ending"] == "success"
    assert len(children()) == 2


@pytest.mark.parametrize(
    ("do", "changes", "ending"),
    [
        (GROWS, {}, "out-of-memory"),
        (f"subprocess.run([sys.executable, '-c', 'import time; {GROWS}'])", {}, "out-of-memory"),
        ("os.kill(os.getpid(), 9)", {}, "vanished"),
        ("os.close(1); os.closerange(3, 100); time.sleep(0.5)", {"timeout_s": 3.0}, "vanished"),
        ("time.sleep(60)", {"timeout_s": 1.0}, "time-limit"),
        ("sys.exit(3)", {}, "application-error"),
        ("args['answer'] = {'x': 'y' * 20_000}", {}, "application-error"),
        ("args['answer'] = {'x': 'y' * (4 << 20)}", {}, "application-error"),
    ],
)
def test_what_a_call_does_ends_it_and_nothing_else(answering, do, changes, ending):
    # Its start has a time of its own.
    assert answering.answer(request())["ending"] == "success"
    record = answering.answer(request(do=do, **changes))
    assert record["ending"] == ending
    assert record["result"]["error"]
    assert answering.answer(request())["ending"] == "success"


def test_a_call_that_does_not_start_in_time(answering):
    code = zipped("import time; time.sleep(60)\ndef main(args): return {}")
    assert answering.answer(request(code, timeout_s=1.0))["ending"] == "start-time-limit"


@pytest.mark.parametrize(
    ("more", "ending"), [(-1, "success"), (0, "success"), (1, "application-error")]
)
def test_an_answer_at_its_limit(answering, more, ending):
    """Of what is sent: `{"result": …}` around it is not counted."""
    answer = {"calls": 1, "x": ""}
    answer["x"] = "y" * (10_000 - len(json.dumps(answer)) + more)
    assert answering.answer(request(answer={"x": answer["x"]}))["ending"] == ending


def test_a_child_that_was_killed_while_it_was_idle_is_not_noticed(answering):
    answering.answer(request())
    [child] = children()
    child.kill()
    wait_until(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    assert answering.answer(request())["result"] == {"calls": 1}


def test_a_process_that_is_frozen_goes_on(answering):
    """Platforms stop instances between calls: what was warm is warm."""
    answering.answer(request())
    [child] = children()
    # By its number: psutil asks first whether that is still the same process, by the clock.
    os.kill(child.pid, signal.SIGSTOP)
    threading.Timer(1.0, os.kill, (child.pid, signal.SIGCONT)).start()
    assert answering.answer(request())["result"] == {"calls": 2}


def test_secrets_of_the_worker_are_not_an_actions(answering, monkeypatch):
    monkeypatch.setenv("DISDEL_TOKEN", "t0ken")
    record = answering.answer(request(do="assert 't0ken' not in str(os.environ)"))
    assert record["ending"] == "success"


def test_children_of_nobodys_calls_end():
    containers = Containers(idle_s=0.2)
    Answering(containers).answer(request())
    wait_until_none(children)
    containers.close()


def _ask_and_hang(told):
    record = Answering(Containers()).answer(request(do="subprocess.Popen(['sleep', '60'])"))
    told.send(record["ending"])
    Answering(Containers()).answer(request(do="time.sleep(60)"))


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_worker_that_is_killed(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_ask_and_hang, args=[theirs])
    worker.start()
    assert ours.recv() == "success"
    wait_until(lambda: len(children(worker.pid)) == 2)
    left = children(worker.pid)
    os.kill(worker.pid, kind)
    worker.join()
    wait_until(lambda: all(map(has_ended, left)))
    wait_until_none(lambda: list(tmp_path.glob("disdel-calls-*")))


def test_an_entry_imports_little():
    """An instance of a function starts with it."""
    code = "import sys, disdel.entry.answering; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    heavy = {"numpy", "redis", "dacite", "httpx", "psutil", "disdel.settings", "disdel.worker"}
    assert not heavy & set(ended.stdout.split())


def test_of_a_package_that_is_removed_a_child_ends_with_its_call(answering, tmp_path):
    """Nobody waits for that call: its run was interrupted."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    waits = (
        f"open({str(begun)!r}, 'w').close()\nwhile not os.path.exists({str(go)!r}): time.sleep(.01)"
    )
    calling = threading.Thread(target=answering.answer, args=(request(do=waits),))
    calling.start()
    wait_until(begun.exists)
    answering.answer({"disdel": CALLS_VERSION, "do": "forget", "prefix": "p/"})
    assert len(children()) == 1
    go.touch()
    calling.join()
    wait_until_none(children)
    begun.unlink()
    go.unlink()
