"""What every platform promises the controller, asked of each."""

import asyncio
import io
import json
import zipfile
from dataclasses import replace

import pytest

from disdel.errors import ConnectionRefused, PlatformRejected
from disdel.platforms.base import ActionSpec
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.platforms.openwhisk.client import OpenWhisk
from tests.support.platforms import Contracted
from tests.support.waiting import DEADLINE_S

CODE = """
import os
import time

def main(args):
    if args.get("fail"):
        raise ValueError("asked to fail")
    if args.get("exit"):
        os._exit(3)
    if args.get("eat"):
        eaten = []
        while len(eaten) < 1000:
            eaten.append(bytearray(1 << 20))
            time.sleep(0.001)
    if args.get("told"):
        return {name: os.environ[name] for name in ("__OW_ACTIVATION_ID", "__OW_DEADLINE")}
    if "reply" in args:
        return {"reply": "x" * args["reply"]}
    if "pad" in args:
        return {"pad": len(args["pad"])}
    time.sleep(args.get("sleep", 0))
    while "until" in args and not os.path.exists(args["until"]):
        time.sleep(0.01)
    print("log line")
    return {"seen": args}
"""
BROKEN = "import no_such_module\n\ndef main(args): return {}\n"


@pytest.fixture(scope="module")
def embedded():
    with start_embedded(EmbeddedOptions(user_memory_mb=1024)) as platform:
        yield platform


class Client:
    """Runs coroutines, each with a fresh client of one platform."""

    def __init__(self, contracted, make):
        self.contracted = contracted
        self._make = make

    def __call__(self, use):
        async def body():
            async with self._make() as platform:
                return await use(platform)

        return asyncio.run(body())

    def action(self, main=CODE, **changes):
        return action(main, **self.contracted.where, **changes)


@pytest.fixture(scope="module", params=Contracted.all, ids=lambda cls: cls.name)
def client(request):
    contracted = request.param()
    with contracted.started() as make:
        yield Client(contracted, make)


@pytest.fixture
def real(client):
    """Of those whose containers can be killed."""
    if not client.contracted.has_containers:
        pytest.skip("its containers are no processes")
    return client


def action(main=CODE, **changes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", main)
    fields = {
        "name": "act",
        "code": buffer.getvalue(),
        "memory_mb": 128,
        "timeout_s": 10.0,
    }
    return ActionSpec(**(fields | changes))


async def invoked_in_time(platform, package, spec, arguments):
    """The record of an activation of an action, whose container was there within its time limit.

    On a machine that does much else its start alone may take longer, and it is given more.
    """
    while True:
        record = await platform.invoke(package, spec.name, arguments, timeout_s=spec.timeout_s)
        if record.ending != "start-time-limit":
            return record
        spec = replace(spec, timeout_s=2 * spec.timeout_s)
        await platform.create_action(package, spec)


async def deployed(client, platform, package="p", **parameters):
    await platform.create_package(package, parameters)
    await platform.create_action(package, client.action())


def test_capacity_is_a_range(client):
    capacity = client(lambda platform: platform.capacity())
    assert 0 < capacity.memory_min_mb <= capacity.memory_max_mb
    assert capacity.timeout_max_s >= 60
    assert capacity.concurrency >= 1
    assert capacity.cpus >= 1
    assert capacity.payload_bytes >= 2**16


def test_an_action_sees_the_package_parameters_under_its_arguments(client):
    async def use(platform):
        await deployed(client, platform, a=1, b=2)
        record = await platform.invoke("p", "act", {"b": 3, "c": {"d": [None]}})
        await platform.remove_package("p")
        return record

    record = client(use)
    assert record.ending == "success"
    assert record.result == {"seen": {"a": 1, "b": 3, "c": {"d": [None]}}}
    assert len(record.id) == 32


def test_an_actions_own_parameters_reach_it_alone(client):
    async def use(platform):
        await deployed(client, platform, a=1, b=2)
        spec = client.action(name="act-other", parameters={"b": "own", "secret": "s"})
        await platform.create_action("p", spec)
        records = [await platform.invoke("p", name, {"c": 3}) for name in ("act", "act-other")]
        await platform.remove_package("p")
        return [record.result["seen"] for record in records]

    assert client(use) == [
        {"a": 1, "b": 2, "c": 3},
        {"a": 1, "b": "own", "secret": "s", "c": 3},
    ]
    assert "secret" not in repr(client.action(parameters={"secret": "s"}))


def test_the_first_activation_is_cold_and_the_next_warm(client):
    async def use(platform):
        # A package of its own: an action that is created again as it was keeps its containers.
        await deployed(client, platform, "fresh")
        first = await platform.invoke("fresh", "act", {})
        second = await platform.invoke("fresh", "act", {})
        await platform.remove_package("fresh")
        return first, second

    first, second = client(use)
    assert first.init_ms is not None
    assert second.init_ms is None


def test_a_failing_action_is_a_record_and_no_exception(client):
    async def use(platform):
        await deployed(client, platform)
        record = await platform.invoke("p", "act", {"fail": True})
        logs = await platform.logs(record.id, within_s=10)
        await platform.remove_package("p")
        return record, logs

    record, logs = client(use)
    assert record.ending == "application-error"
    assert record.result == {"error": "asked to fail"}
    assert logs


def test_many_at_once(client):
    async def use(platform):
        await deployed(client, platform)
        records = await asyncio.gather(*(platform.invoke("p", "act", {"n": n}) for n in range(20)))
        await platform.remove_package("p")
        return records

    assert [record.result["seen"]["n"] for record in client(use)] == list(range(20))


def test_creating_again_replaces(client):
    async def use(platform):
        await deployed(client, platform, a=1)
        await deployed(client, platform, a=2)
        record = await platform.invoke("p", "act", {})
        await platform.remove_package("p")
        return record

    assert client(use).result == {"seen": {"a": 2}}


def test_removing_takes_the_actions_along_and_may_be_repeated(client):
    async def use(platform):
        await deployed(client, platform)
        await platform.remove_package("p")
        await platform.remove_package("p")
        with pytest.raises(PlatformRejected) as rejected:
            await platform.invoke("p", "act", {})
        return rejected.value

    assert client(use).status == 404


def test_an_activation_is_told_its_id_and_its_deadline(real):
    async def use(platform):
        await deployed(real, platform)
        record = await platform.invoke("p", "act", {"told": True})
        await platform.remove_package("p")
        return record

    record = real(use)
    assert record.result["__OW_ACTIVATION_ID"] == record.id
    deadline_ms = int(record.result["__OW_DEADLINE"])
    assert record.start_ms < deadline_ms <= record.start_ms + record.duration_ms + 10_500


@pytest.mark.parametrize(
    ("changes", "arguments", "ending"),
    [
        ({}, {"eat": True}, "out-of-memory"),
        ({"timeout_s": 2.0}, {"sleep": 30}, "time-limit"),
        ({}, {"exit": True}, "vanished"),
        ({"main": BROKEN}, {}, "not-started"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_ends_an_activation_is_told_in_one_of_a_few_words(real, changes, arguments, ending):
    async def use(platform):
        await platform.create_package("ends", {})
        spec = real.action(**changes)
        await platform.create_action("ends", spec)
        record = await invoked_in_time(platform, "ends", spec, arguments)
        logs = await platform.logs(record.id, within_s=10)
        await platform.remove_package("ends")
        return record, logs

    record, logs = real(use)
    assert record.ending == ending
    assert record.result["error"]
    if ending == "not-started":
        assert any("no_such_module" in line for line in logs)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_arguments_may_be_as_large_as_it_says_and_no_larger(real, beyond):
    async def use(platform):
        await deployed(real, platform)
        allowed = (await platform.capacity()).payload_bytes
        compact = (",", ":") if real.contracted.sends_compact else None
        frame = len(json.dumps({"pad": ""}, separators=compact))
        length = allowed + beyond - frame
        try:
            return length, await platform.invoke("p", "act", {"pad": "x" * length})
        finally:
            await platform.remove_package("p")

    if beyond > 0:
        with pytest.raises(PlatformRejected) as rejected:
            real(use)
        assert rejected.value.status == 413
    else:
        length, record = real(use)
        assert record.ending == "success"
        assert record.result == {"pad": length}


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_an_answer_may_be_as_large_as_it_says_and_is_an_error_beyond(real, beyond):
    async def use(platform):
        await deployed(real, platform)
        length = (await platform.capacity()).payload_bytes + beyond - len('{"reply": ""}')
        record = await platform.invoke("p", "act", {"reply": length})
        await platform.remove_package("p")
        return length, record

    length, record = real(use)
    if beyond > 0:
        assert record.ending == "application-error"
        assert str(length)[:3] in str(record.result["error"])
    else:
        assert record.ending == "success"
        assert record.result == {"reply": "x" * length}


def test_who_stops_waiting_need_not_wait_and_others_go_on(real, tmp_path):
    go = tmp_path / "go"

    async def use(platform):
        await platform.create_package("p", {})
        await platform.create_action("p", real.action(timeout_s=60.0))
        endless = platform.invoke("p", "act", {"until": str(go)}, timeout_s=60.0)
        waiting = asyncio.create_task(endless)
        try:
            await platform.invoke("p", "act", {})
            waiting.cancel()
            # Its action goes on, unless its platform ends it.
            await asyncio.wait([waiting], timeout=DEADLINE_S)
            assert waiting.cancelled(), waiting
            record = await platform.invoke("p", "act", {"n": 1})
        finally:
            go.touch()
        await platform.remove_package("p")
        return record

    assert real(use).result == {"seen": {"n": 1}}


def test_a_refusal_carries_the_platforms_own_words(real):
    async def use(platform):
        too_much_mb = (await platform.capacity()).memory_max_mb + 1
        await platform.create_package("p", {})
        try:
            with pytest.raises(PlatformRejected, match=f"{too_much_mb} MB") as error:
                await platform.create_action("p", real.action(memory_mb=too_much_mb))
        finally:
            await platform.remove_package("p")
        return error.value.status

    assert real(use) == 400


def test_a_refusal_shows_no_key(embedded):
    async def use():
        platform = OpenWhisk(embedded.access)
        try:
            await platform.invoke("p", "none", {})
        finally:
            await platform.close()

    with pytest.raises(PlatformRejected) as error:
        asyncio.run(use())
    assert embedded.access.auth.partition(":")[2] not in str(error.value)


def capacity_of(access):
    async def use():
        platform = OpenWhisk(access)
        try:
            return await platform.capacity()
        finally:
            await platform.close()

    return asyncio.run(use())


def test_nobody_answers():
    with pytest.raises(
        ConnectionRefused, match=r"no OpenWhisk answers at http://127\.0\.0\.1:1 .*--apihost"
    ):
        capacity_of(ApiAccess("http://127.0.0.1:1", "a:b"))


def test_no_key(embedded):
    with pytest.raises(ConnectionRefused, match=r"wants a key, and none is named: --auth"):
        capacity_of(ApiAccess(embedded.access.apihost, ""))


def test_a_wrong_key(embedded):
    with pytest.raises(ConnectionRefused, match=r"does not accept the key.*--auth"):
        capacity_of(ApiAccess(embedded.access.apihost, "23bc46b1-0000:" + "x" * 64))
