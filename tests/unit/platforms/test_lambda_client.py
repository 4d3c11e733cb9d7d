"""The client of Lambda against servers that fail in the ways that others have reported."""

import asyncio
import base64
import hashlib
import io
import json
import random
import re
import threading
import time
import zipfile
from contextlib import nullcontext

import pytest

from disdel.entry.lambda_image import CODE, CODE_ENV
from disdel.errors import (
    ActivationLost,
    ConnectionRefused,
    PlatformLost,
    PlatformRejected,
    UsageError,
)
from disdel.platforms.base import ActionSpec, Begun
from disdel.platforms.lambda_ import client as client_module
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.limits import (
    CODE_BYTES_IN_EVENT,
    PAYLOAD_BYTES,
    UNZIPPED_BYTES,
    ZIP_BYTES,
    payload_bytes,
)
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.platforms.lambda_.packing import packed
from disdel.platforms.registry import chosen
from disdel.settings import Settings
from tests.support.stub_lambda import ROLE, StubLambda, report

ID = "0123456789abcdef0123456789abcdef"
REQUEST = "01234567-89ab-cdef-0123-456789abcdef"
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def zipped(*, padding=b"", stored=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", stored) as archive:
        archive.writestr("__main__.py", "def main(args): return args")
        archive.writestr("padding", padding)
    return buffer.getvalue()


def spec(**changes):
    fields = {"name": "act", "kind": "python:3.11", "memory_mb": 128, "timeout_s": 1.0}
    return ActionSpec(**{"code": zipped(), **fields, **changes})


def with_client(stub, use, *, patience_s=5.0, options=None, tell=None):
    async def body():
        given = {"endpoint": stub.url, "role": ROLE, **(options or {})}
        told = {} if tell is None else {"tell": tell}
        platform = Lambda(LambdaOptions(**given), patience_s=patience_s, **told)
        try:
            await platform.create_package("p", {})
            await platform.create_action("p", spec())
            return await use(platform)
        finally:
            await platform.close()

    return asyncio.run(body())


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


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"memory_mb": 127}, 400, "127 MB, and an action has 128 to 10240"),
        ({"memory_mb": 10_241}, 400, "10241 MB, and an action has 128 to 10240"),
        ({"timeout_s": 901.0}, 400, "901 s, and is cut after 900 s"),
        ({"kind": "python:3.8"}, 400, "Lambda has Python 3.11, 3.12, 3.13"),
        ({"kind": None, "image": "disdel/runtime-torch:1"}, 400, "option image_prefix=.*compiled"),
    ],
    ids=str,
)
def test_what_is_beyond_a_limit_is_refused_with_it(changes, status, said):
    with StubLambda() as stub, pytest.raises(PlatformRejected, match=said) as rejected:
        with_client(stub, lambda p: p.create_action("p", spec(**changes)))
    assert rejected.value.status == status


def of_image(**changes):
    return spec(**{"kind": None, "image": "disdel/runtime-torch:1", **changes})


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("disdel/runtime-torch:1", f"{REGISTRY}/mine/runtime-torch:1"),
        ("registry.example/team/runtime-torch:1", f"{REGISTRY}/mine/runtime-torch:1"),
        (f"{REGISTRY}/other:2", f"{REGISTRY}/other:2"),
    ],
)
def test_an_action_of_an_image_is_made_of_that_and_brings_its_code(image, asked):
    async def use(platform):
        await platform.create_action("p", of_image(image=image, parameters={"own": 1}))
        return await platform.invoke("p", "act", {"n": 1})

    options = {"image_prefix": f"{REGISTRY}/mine/", "files_mb": 1024}
    with StubLambda() as stub:
        record = with_client(stub, use, options=options)
    made = stub.created[-1]
    assert (made["PackageType"], made["Code"]) == ("Image", {"ImageUri": asked})
    assert not {"Handler", "Runtime"} & made.keys()
    assert made["EphemeralStorage"] == {"Size": 1024}
    code = base64.b64decode(record.result[CODE])
    assert zipfile.ZipFile(io.BytesIO(code)).namelist() == ["__main__.py", "padding"]
    variables = made["Environment"]["Variables"]
    assert variables[CODE_ENV] == hashlib.sha256(code).hexdigest()
    assert {name: record.result[name] for name in record.result if name != CODE} == {
        "own": 1,
        "n": 1,
    }


def test_an_event_has_room_for_arguments_and_code():
    options = {"image_prefix": f"{REGISTRY}/"}
    # In base64, and what a zip has around a file.
    code = random.Random(0).randbytes(CODE_BYTES_IN_EVENT * 3 // 4 - 1200)
    most = "x" * (payload_bytes(LambdaOptions(**options)) - len('{"pad":""}'))
    sizes = []

    def answer(_, event):
        sizes.append(len(json.dumps(event, separators=(",", ":"))))
        return 200, {}, {}

    def call(stub, code, pad):
        async def use(platform):
            await platform.create_action("p", of_image(code=zipped(padding=code)))
            return await platform.invoke("p", "act", {"pad": pad})

        return with_client(stub, use, options=options)

    with StubLambda(answer) as stub:
        assert call(stub, code, most).ending == "success"
        with pytest.raises(PlatformRejected, match=r"takes \d+ beside the code") as longer:
            call(stub, code, most + "x")
        with pytest.raises(PlatformRejected, match="bytes of code of its own") as larger:
            call(stub, code + random.Random(1).randbytes(1200), most)
    assert (longer.value.status, larger.value.status) == (413, 413)
    assert len(sizes) == 1
    assert PAYLOAD_BYTES - 2000 < sizes[0] <= PAYLOAD_BYTES


def test_an_image_of_another_region_is_refused_before_anything_is_made():
    options = {"image_prefix": f"{REGISTRY}/", "region": "us-west-2"}
    with StubLambda() as stub:
        told = r"registry of us-east-1, and functions of us-west-2"
        with pytest.raises(PlatformRejected, match=told):
            with_client(stub, lambda p: p.create_action("p", of_image()), options=options)
        assert [made["PackageType"] for made in stub.created] == ["Zip"]


def test_images_run_where_somebody_says_where_they_are():
    def traits(**changes):
        return chosen(Settings(platform="lambda", **changes)).traits

    assert not traits().runs_images
    assert traits(platform_options=(f"image_prefix={REGISTRY}/",)).runs_images
    assert traits(image_prefix=f"{REGISTRY}/mine/").runs_images
    assert not traits(image_prefix="registry.example/mine/").runs_images
    # It is said of one run, and not from then on.
    assert not traits().runs_images


def test_without_a_role_nothing_is_deployed():
    with StubLambda() as stub, pytest.raises(UsageError, match="--platform-option role=ARN"):
        with_client(stub, lambda p: p.capacity(), options={"role": None})


def test_a_zip_has_the_handler_and_is_held_to_its_sizes():
    made = packed("act", zipped(), "x86_64", has_bucket=False)
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert {"__main__.py", "disdel/entry/lambda_handler.py", "disdel/entry/call.py"} <= set(names)
    assert len(names) == len(set(names))
    large = zipped(padding=bytes(ZIP_BYTES), stored=zipfile.ZIP_STORED)
    told = r"a zip of 50\.0 MB, .* 50 MB .*bucket=NAME"
    with pytest.raises(PlatformRejected, match=told) as rejected:
        packed("act", large, "x86_64", has_bucket=False)
    assert rejected.value.status == 413
    assert len(packed("act", large, "x86_64", has_bucket=True)) > ZIP_BYTES
    with pytest.raises(PlatformRejected, match=r"unpacks to 250\.0 MB, and Lambda takes 250 MB"):
        packed("act", zipped(padding=bytes(UNZIPPED_BYTES)), "x86_64", has_bucket=True)


def elf(machine):
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


X86, ARM, SPARC = 0x3E, 0xB7, 0x2B


@pytest.mark.parametrize(
    ("files", "architecture", "said"),
    [
        ({"own/a.so": ARM}, "x86_64", r"own/a\.so in the code of act .*for arm64, .*on x86_64"),
        ({"own/a.so": X86}, "arm64", r"for x86_64, .*--arch arm64; or .*architecture=x86_64"),
        ({"own/a.so": SPARC}, "x86_64", r"for machine 43, .*--arch amd64$"),
        ({"numpy/x.so": X86, "numpy/a.so": ARM, "own/a.so": ARM}, "x86_64", r"own/a\.so"),
        ({"numpy/x.so": X86, "numpy/a.so": ARM}, "arm64", None),
        ({"numpy/x.so": X86}, "x86_64", None),
    ],
)
@pytest.mark.parametrize("image", [None, "disdel/runtime-torch:1"])
def test_what_no_processor_of_a_function_can_load_is_not_sent(files, architecture, said, image):
    buffer = io.BytesIO(zipped())
    with zipfile.ZipFile(buffer, "a") as archive:
        for path, machine in files.items():
            archive.writestr(path, elf(machine))
    options = {"architecture": architecture, "image_prefix": f"{REGISTRY}/"}
    made = spec(code=buffer.getvalue(), image=image, kind=None if image else "python:3.11")
    raised = nullcontext() if said is None else pytest.raises(PlatformRejected, match=said)
    with StubLambda() as stub, raised:
        with_client(stub, lambda p: p.create_action("p", made), options=options)


def test_functions_have_names_that_lambda_takes():
    with StubLambda() as stub:

        async def use(platform):
            return [
                platform._deploying.function(package, action)
                for package, action in [
                    ("disdel-1", "train-128"),
                    ("disdel-1", "train-37.5s"),
                    ("disdel-1", "train-37_5s"),
                    ("p" * 80, "train"),
                    ("p" * 80, "train-256"),
                ]
            ]

        names = with_client(stub, use)
    assert names[0] == "disdel-1-train-128"
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)


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
