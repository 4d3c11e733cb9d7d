"""The executor platform, over executors that do what workers of others were seen to do."""

import asyncio
import json
import pickle
import pickletools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import disdel
from disdel.entry.executor_call import run
from disdel.errors import PlatformError, PlatformLost, PlatformRejected, UsageError
from disdel.platforms.base import Begun
from disdel.platforms.executor.provider import ExecutorProvider
from disdel.platforms.executor.source import Source
from disdel.settings import Settings
from tests.contract.test_platform import action


class Workers:
    """An executor whose calls `answer` makes, of the request; what it raises, the future does.

    It runs `workers` at once and, with `breaks`, is broken for good by what `answer` raises.
    """

    def __init__(self, answer, workers=4):
        self._answer = answer
        self._max_workers = workers
        self._threads = ThreadPoolExecutor(workers)
        self._broken = None
        self._running = []
        self._lock = threading.Lock()
        self.submitted = []

    def submit(self, function, text):
        assert function is run
        request = json.loads(text)
        if self._broken:
            raise self._broken
        future = Future()
        with self._lock:
            self.submitted.append(request)
            self._running.append(future)
        self._threads.submit(self._run, future, request, text)
        return future

    def _run(self, future, request, text):
        try:
            result = run(text) if request["do"] == "hello" else self._answer(request)
        except BrokenProcessPool as error:
            with self._lock:
                self._broken = error
                lost, self._running = self._running, []
            for each in lost:
                if not each.done():
                    each.set_exception(error)
            return
        except Exception as error:
            future.set_exception(error)
            return
        with self._lock:
            if future in self._running:
                self._running.remove(future)
                future.set_result(result if isinstance(result, str) else json.dumps(result))

    def shutdown(self):
        self._threads.shutdown(wait=False)


def answered(result, **changes):
    return {
        "disdel": 1,
        "activation_id": "c" * 32,
        "ending": "success",
        "result": result,
        "start_ms": 1,
        "duration_ms": 1,
        "init_ms": None,
        "logs": [],
        **changes,
    }


def using(given, use, *options, told=None):
    """What `use(platform)` gives, of a package `p` with the action `act`."""

    async def body():
        settings = Settings(platform_options=("memory_max=512", *options), patience_network_s=20.0)
        tell = (told if told is not None else []).append
        async with ExecutorProvider(given).open(settings, tell) as opened:
            await opened.platform.create_package("p", {})
            await opened.platform.create_action("p", action())
            return await use(opened.platform)

    return asyncio.run(body())


def test_nothing_of_ours_is_pickled_but_a_name_and_text():
    seen = []

    class Pickles(ThreadPoolExecutor):
        def submit(self, function, *args):
            data = pickle.dumps((function, *args))
            seen.append([(op.name, arg) for op, arg, _ in pickletools.genops(data)])
            return super().submit(function, *args)

    async def use(platform):
        return await platform.invoke("p", "act", {"n": 1})

    with Pickles(1) as pool:
        assert using(pool, use).result == {"seen": {"n": 1}}
    makes = {"REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "EXT1", "PERSID"}
    for ops in seen:
        assert not makes & {name for name, _ in ops}
        strings = [arg for name, arg in ops if name in ("SHORT_BINUNICODE", "BINUNICODE")]
        assert strings[:2] == ["disdel.entry.executor_call", "run"]
        assert [name for name, _ in ops].count("STACK_GLOBAL") == 1


def test_one_that_kills_its_workers_fails_and_the_others_lose_no_tries():
    """dask/distributed#334: one poison task among twenty others, in pools that break with it."""

    def answer(request):
        if request["arguments"]["n"] == 7:
            raise BrokenProcessPool("a process died")
        return answered({"n": request["arguments"]["n"]})

    made = []

    def make():
        made.append(Workers(answer))
        return made[-1]

    async def use(platform):
        calls = (platform.invoke("p", "act", {"n": n}) for n in range(21))
        return await asyncio.gather(*calls)

    records = using(make, use)
    assert [record.ending for record in records] == [
        "vanished" if n == 7 else "success" for n in range(21)
    ]
    assert records[7].result == {"error": "BrokenProcessPool: a process died"}
    poison = [r for each in made for r in each.submitted if r.get("arguments") == {"n": 7}]
    assert len(poison) == 4
    assert len({request["activation_id"] for request in poison}) == 1


def test_a_worker_that_is_lost_once_costs_nothing():
    losses = [OSError("the worker is gone"), RuntimeError("ManagerLost")]

    def answer(request):
        if losses:
            raise losses.pop()
        return answered({})

    async def use(platform):
        return await platform.invoke("p", "act", {})

    assert using(Workers(answer), use).ending == "success"


def test_a_given_pool_that_is_broken_is_told_with_what_to_do():
    def answer(request):
        raise BrokenProcessPool("a process died")

    async def use(platform):
        await platform.invoke("p", "act", {})

    with pytest.raises(PlatformLost, match=r"takes no more calls.*give a function that makes one"):
        using(Workers(answer), use)


def test_an_error_of_the_action_is_not_tried_again():
    async def use(platform):
        return await platform.invoke("p", "act", {})

    failing = Workers(lambda _: answered({"error": "no"}, ending="application-error"))
    assert using(failing, use).ending == "application-error"
    assert [request["do"] for request in failing.submitted].count("call") == 1


def test_an_answer_that_got_lost_is_found_in_the_store():
    def answer(request):
        raise OSError("the worker is gone")

    async def use(platform):
        async def begun():
            return Begun(activation_id="b" * 32, ended=True, result={"found": 1})

        return await platform.invoke("p", "act", {}, begun=begun)

    record = using(Workers(answer), use)
    assert (record.ending, record.result, record.id) == ("success", {"found": 1}, "b" * 32)


def test_a_call_that_is_never_answered_ends_and_a_late_answer_is_nobodys():
    """lithops#1285, parsl#3632: what comes after a call was given up is used at no time."""
    go_on = threading.Event()

    def answer(request):
        if request["arguments"]["n"] == 1:
            go_on.wait(60)
            return answered({"late": True})
        return answered({})

    async def use(platform):
        first = await platform.invoke("p", "act", {"n": 1})
        go_on.set()
        return first, await platform.invoke("p", "act", {"n": 2})

    first, second = using(Workers(answer), use, "start=1")
    assert (first.ending, first.result["error"]) == ("vanished", "the call was not begun")
    assert second.result == {}


@pytest.mark.parametrize("reply", ["no JSON", "[1]", json.dumps({"disdel": 1, "ending": "odd"})])
def test_what_is_no_answer_is_told(reply):
    async def use(platform):
        await platform.invoke("p", "act", {})

    with pytest.raises(PlatformError, match=r"no answer of disdel's|is no record"):
        using(Workers(lambda _: reply), use)


def test_a_cancelled_call_is_cancelled_there_and_leaves_room():
    release, cancelled = threading.Event(), []

    def answer(request):
        if request["arguments"].get("wait"):
            release.wait(60)
        return answered({})

    class Watched(Workers):
        def submit(self, function, text):
            future = super().submit(function, text)
            future.cancel = lambda: cancelled.append(future)
            return future

    async def use(platform):
        waiting = asyncio.ensure_future(platform.invoke("p", "act", {"wait": True}))
        while not workers.submitted or workers.submitted[-1]["do"] != "call":
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return await platform.invoke("p", "act", {})

    workers = Watched(answer, workers=2)
    try:
        assert using(workers, use, "workers=1").ending == "success"
    finally:
        release.set()
    assert len(cancelled) == 1


def test_arguments_beyond_the_limit_are_refused_before_they_are_sent():
    async def use(platform):
        with pytest.raises(PlatformRejected, match=r"1048577 bytes .* takes 1048576") as refused:
            await platform.invoke("p", "act", {"x": "y" * (2**20 - len('{"x": ""}') + 1)})
        assert refused.value.status == 413
        return await platform.invoke("p", "act", {"x": "y" * (2**20 - len('{"x": ""}'))})

    assert using(Workers(lambda _: answered({})), use, "payload_max=1").ending == "success"


def hello_of(**changes):
    class Others(Workers):
        def _run(self, future, request, text):
            future.set_result(json.dumps({**json.loads(run(text)), **changes}))

    return Others(None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"disdel": 0}, "version 0 of disdel's calls"),
        ({"refused": "update disdel where this entry runs"}, "update disdel where this entry runs"),
        ({"python": "3.9"}, "is Python 3.9 on .* same Python"),
        ({"machine": "sparc"}, "on sparc"),
    ],
)
def test_versions_are_compared_before_the_first_call(changes, said):
    with pytest.raises(PlatformError, match=said):
        using(hello_of(**changes), None)


def test_workers_without_disdel_are_told_of():
    class Bare(Workers):
        def _run(self, future, request, text):
            future.set_exception(ModuleNotFoundError("No module named 'disdel'"))

    with pytest.raises(PlatformError, match=r"No module named 'disdel'.*installed where they run"):
        using(Bare(None), None)


def test_an_executor_that_does_not_tell_its_workers_has_to_be_told():
    silent = Workers(lambda _: answered({}))
    del silent._max_workers
    with pytest.raises(UsageError, match=r"how many calls it runs at once.*workers=N"):
        using(silent, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pool", "must be FILE.py:FUNCTION"),
        ("none.py:make", "there is no file none.py"),
        ("no_such:make", "needs no_such"),
        ("made.py:none", "has no none"),
        ("made.py:number", "is int, which is no executor"),
        ("made.py:fails", "ValueError: no queue .made.py, line 5"),
        ("made.py:wrong", "is dict, which has no submit"),
        ("broken.py:make", "broken.py cannot be imported: SyntaxError"),
        ("ends.py:make", r"cannot be made: SystemExit"),
        ("ends_at_once.py:make", r"cannot be imported: SystemExit"),
    ],
)
def test_a_name_that_leads_to_no_executor(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text(
        "number = 3\ndef wrong():\n    return {}\ndef fails():\n    raise ValueError('no queue')\n"
    )
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "ends.py").write_text("def make():\n    raise SystemExit(0)\n")
    (tmp_path / "ends_at_once.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(UsageError, match=said):
        _ = Source.named(name).executor


def test_what_is_no_executor_is_refused_in_python():
    with pytest.raises(UsageError, match=r"on must be an executor.*not int"):
        disdel.train("digits", on=3)
    with pytest.raises(UsageError, match=r"on gives an executor, and platform names embedded"):
        disdel.federate("digits", clients=2, on=print, platform="embedded")


def test_it_has_limits_of_its_own():
    with pytest.raises(UsageError, match=r"--limits stock is for the embedded platform"):
        asyncio.run(ExecutorProvider(print).offered(Settings(platform_limits="stock")))
    with pytest.raises(UsageError, match=r"no executor is named"):
        asyncio.run(ExecutorProvider().offered(Settings()))


def test_without_shared_memory_threads_do(monkeypatch):
    """numba#3344, loky#42: where there is no /dev/shm no process pool starts."""
    import _multiprocessing

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(_multiprocessing, "SemLock", refuse)

    async def use(platform):
        return await platform.invoke("p", "act", {})

    with ThreadPoolExecutor(1) as pool:
        assert using(pool, use).ending == "success"
