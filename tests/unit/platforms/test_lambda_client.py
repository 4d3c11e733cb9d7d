"""The client of Lambda against servers that fail in the ways that others have reported."""

import asyncio
import base64
import json
import threading
import time

import pytest

from disdel.errors import (
    ActivationLost,
    ConnectionRefused,
    PlatformLost,
    PlatformRejected,
    UsageError,
)
from disdel.platforms.base import Begun
from disdel.platforms.lambda_ import client as client_module
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.limits import PAYLOAD_BYTES
from disdel.platforms.lambda_.options import LambdaOptions
from tests.support.lambda_client import REGISTRY, spec, with_client
from tests.support.stub_lambda import StubLambda, report

ID = "0123456789abcdef0123456789abcdef"
REQUEST = "01234567-89ab-cdef-0123-456789abcdef"


def test_an_answer_that_does_not_come_in_time_is_asked_for_once_and_looked_for(monkeypatch):
    monkeypatch.setattr(client_module, "_ANSWER_S", 0.2)
    monkeypatch.setattr(client_module, "INIT_S", 0.0)
    ends, looks = threading.Event(), []

    def answer(number, event):
        ends.wait(60)
        return 200, event, {}

    async def begun():
        looks.append(len(looks))
        # It goes on for a while after the answer has got lost.
        ended = len(looks) > 3
        return Begun(activation_id=ID, ended=ended, result={"n": 1} if ended else None)

    with StubLambda(answer) as stub:

        async def use(platform):
            return await platform.invoke("p", "act", {"n": 1}, timeout_s=1.0, begun=begun)

        try:
            record = with_client(stub, use)
        finally:
            ends.set()
        assert stub.invocations == 1
    assert (record.id, record.ending, record.result) == (ID, "success", {"n": 1})
    assert record.init_ms is None


def test_a_connection_that_is_cut_is_looked_for_before_it_is_tried_again(monkeypatch):
    monkeypatch.setattr(client_module, "_LOOK_S", 0.3)
    begins = []

    def answer(number, event):
        if number == 1:
            raise ConnectionAbortedError
        return 200, event, {}

    async def begun():
        begins.append(1)

    with StubLambda(answer) as stub:
        looked = with_client(stub, lambda p: p.invoke("p", "act", {"n": 1}, begun=begun))
        assert stub.invocations == 2
    assert looked.result == {"n": 1}
    assert begins


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_fails_for_a_moment_is_asked_again(status):
    def answer(number, event):
        return (status, b"", {}) if number < 3 else (200, event, {})

    with StubLambda(answer) as stub:
        record = with_client(stub, lambda p: p.invoke("p", "act", {"n": 1}))
        assert (stub.invocations, record.result) == (3, {"n": 1})


def test_who_has_ended_without_an_answer_is_lost():
    async def begun():
        return Begun(activation_id=ID, ended=True)

    with StubLambda(lambda *_: (502, b"", {})) as stub, pytest.raises(ActivationLost) as lost:
        with_client(stub, lambda p: p.invoke("p", "act", {}, begun=begun))
    assert lost.value.activation_id == ID


def test_all_of_many_calls_end_where_two_at_a_time_are_taken():
    taken = threading.BoundedSemaphore(2)
    refused = []

    def answer(number, event):
        if not taken.acquire(blocking=False):
            refused.append(number)
            kind = {"x-amzn-ErrorType": "TooManyRequestsException"}
            return 429, {"Reason": "ConcurrentInvocationLimitExceeded", "message": "Rate"}, kind
        time.sleep(0.01)
        taken.release()
        return 200, event, {}

    async def use(platform):
        calls = (platform.invoke("p", "act", {"n": n}) for n in range(50))
        return await asyncio.gather(*calls), platform._pacing.limit

    with StubLambda(answer) as stub:
        records, limit = with_client(stub, use)
    assert [record.result["n"] for record in records] == list(range(50))
    # It has learnt how many are taken, and goes on as many.
    assert refused
    assert limit < 25


def test_many_threads_with_clients_of_their_own_share_no_fault():
    wrong = []

    def one(stub, thread):
        async def use(platform):
            for n in range(0, 50, 10):
                calls = (platform.invoke("p", "act", {"n": (thread, n + k)}) for k in range(10))
                for k, record in enumerate(await asyncio.gather(*calls)):
                    if record.result != {"n": [thread, n + k]}:
                        wrong.append(record)

        with_client(stub, use)

    with StubLambda() as stub:
        threads = [threading.Thread(target=one, args=(stub, n)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stub.invocations == 24 * 50
    assert not wrong


def test_connections_are_kept_for_all_that_are_under_way_at_the_same_time():
    barrier = threading.Barrier(40, timeout=60)

    def answer(number, event):
        barrier.wait()
        return 200, event, {}

    async def use(platform):
        for _ in range(3):
            await asyncio.gather(*(platform.invoke("p", "act", {"n": n}) for n in range(40)))

    with StubLambda(answer) as stub:
        with_client(stub, use)
        assert stub.most == 40
        # And one or two for what was asked before.
        assert stub.connections <= 42


def test_a_function_that_is_gone_is_told_as_such():
    kind = {"x-amzn-ErrorType": "ResourceNotFoundException"}
    with StubLambda(lambda *_: (404, {"message": "Function not found"}, kind)) as stub:
        with pytest.raises(PlatformRejected, match="Function not found") as rejected:
            with_client(stub, lambda p: p.invoke("p", "act", {}))
        assert (rejected.value.status, stub.invocations) == (404, 1)


def test_a_larger_event_than_allowed_is_not_sent():
    def padded(beyond):
        return {"pad": "é" * ((PAYLOAD_BYTES - len('{"pad":""}')) // 2) + "x" * beyond}

    with StubLambda(lambda number, event: (200, {"n": len(event["pad"])}, {})) as stub:
        record = with_client(stub, lambda p: p.invoke("p", "act", padded(0)))
        assert record.ending == "success"
        with pytest.raises(PlatformRejected, match=r"6291557 bytes .*takes 6291556"):
            with_client(stub, lambda p: p.invoke("p", "act", padded(1)))
        assert stub.invocations == 1


def test_a_key_that_is_refused_is_told_at_the_first_contact():
    kind = {"x-amzn-ErrorType": "UnrecognizedClientException"}
    said = {"message": "The security token included in the request is invalid."}

    async def use(platform):
        platform._met = False
        return await platform.invoke("p", "act", {})

    with StubLambda(lambda *_: (403, said, kind)) as stub:
        with pytest.raises(ConnectionRefused, match="AWS does not accept the key"):
            with_client(stub, use)
        assert stub.invocations == 1


def test_nobody_at_the_endpoint_is_told_with_the_option_that_names_it(monkeypatch):
    monkeypatch.setattr(client_module, "_FIRST_CONTACT_S", 0.2)

    async def ask():
        platform = Lambda(LambdaOptions(endpoint="http://127.0.0.1:1"))
        try:
            await platform.capacity()
        finally:
            await platform.close()

    with pytest.raises(ConnectionRefused, match=r"does not answer .*--platform-option endpoint"):
        asyncio.run(ask())


def test_a_server_that_goes_on_failing_is_lost():
    fails, lost = StubLambda(lambda *_: (503, b"", {})), pytest.raises(PlatformLost)
    with fails as stub, lost as error:
        with_client(stub, lambda p: p.invoke("p", "act", {}), patience_s=0.3)
    assert "has failed for" in str(error.value)


def test_who_stops_waiting_does_not_wait_for_the_answer():
    ends = threading.Event()

    async def use(platform):
        waiting = asyncio.create_task(platform.invoke("p", "act", {}))
        while not stub.invocations:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with StubLambda(lambda *_: (ends.wait(60) and 200, {}, {})) as stub:
        with_client(stub, use)
        assert not ends.is_set()
        ends.set()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"role": "disdel"}, "role must be the ARN of a role"),
        ({"endpoint": "127.0.0.1:80"}, "endpoint must be the URL of a server"),
        ({"endpoint": "http://key:secret@host"}, "endpoint must be the URL of a server"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"architecture": "sparc"}, "architecture"),
        ({"image_prefix": "disdel/"}, "must begin as the names of images in ECR"),
        ({"image_prefix": f"{REGISTRY}/a b"}, "must begin as the names of images in ECR"),
        ({"files_mb": 511}, "files must be from 512 to 10240 MB"),
        ({"files_mb": 10_241}, "files must be from 512 to 10240 MB"),
    ],
    ids=str,
)
def test_options_that_lead_nowhere_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        LambdaOptions(**options)


def test_no_region_and_no_profile_are_told(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no AWS region is named"):
        Lambda(LambdaOptions())
    with pytest.raises(UsageError, match=r"lead nowhere: .*profile"):
        Lambda(LambdaOptions(profile="nobody", region="us-east-1"))


def test_the_key_of_a_user_is_not_shown_to_an_emulator(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    platform = Lambda(LambdaOptions(endpoint="http://127.0.0.1:1"))
    assert platform._aws.runner._request_signer._credentials.access_key != "AKIAOWN"
    asyncio.run(platform.close())


def test_a_log_that_is_cut_is_read_where_it_is_whole(monkeypatch):
    lines = ("START RequestId: x", "much", "REPORT RequestId: x")
    monkeypatch.setattr(client_module, "whole_log", lambda *_: lines)

    async def use(platform):
        platform._logs[ID] = ("p-act", "the end of it\n")
        return await platform.logs(ID, within_s=5)

    with StubLambda() as stub:
        assert with_client(stub, use) == lines
        assert with_client(stub, lambda p: p.logs("f" * 32, within_s=5)) == ()


def test_a_start_that_was_thrown_away_is_cold_and_told_once():
    line = "INIT_REPORT Init Duration: 10008.37 ms\tPhase: init\tStatus: timeout\n"

    def answer(number, event):
        log = line if number < 3 else ""
        log = base64.b64encode(f"{log}{report(REQUEST, Duration='2000.00 ms')}".encode())
        return 200, event, {"X-Amz-Log-Result": log.decode()}

    async def use(platform):
        return [await platform.invoke("p", "act", {}) for _ in range(3)]

    told = []
    with StubLambda(answer) as stub:
        records = with_client(stub, use, tell=told.append)
    assert [record.init_ms for record in records] == [10008, 10008, None]
    [sentence] = told
    assert "the start of p-act took 10.0 s: Lambda throws away one of more than 10 s" in sentence


def test_parameters_of_package_and_action_travel_with_each_event_and_in_no_setting():
    async def use(platform):
        await platform.create_package("p", {"redis": "redis://:secret@host", "n": 1})
        await platform.create_action("p", spec(parameters={"n": 2, "own": 3}))
        return await platform.invoke("p", "act", {"own": 4})

    with StubLambda() as stub:
        record = with_client(stub, use)
    assert record.result == {"redis": "redis://:secret@host", "n": 2, "own": 4}
    assert "secret" not in json.dumps(record.logs)


def test_a_refusal_is_none_that_passes_whatever_its_words():
    kind = {"x-amzn-ErrorType": "ResourceNotFoundException"}
    with StubLambda(lambda *_: (404, {"message": "Pending is no function"}, kind)) as stub:
        with pytest.raises(PlatformRejected, match="Pending is no function"):
            with_client(stub, lambda p: p.invoke("p", "act", {}))
        assert stub.invocations == 1
