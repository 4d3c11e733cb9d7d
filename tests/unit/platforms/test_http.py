"""The platform of functions behind URLs, over a server that does what gateways were seen to do."""

import asyncio
import contextlib
import threading
import time
from dataclasses import replace

import pytest

from disdel.errors import ConnectionRefused, PlatformLost, PlatformRejected, UsageError
from disdel.platforms.base import Begun
from disdel.platforms.http import client as http_client
from disdel.platforms.http.limits import HttpOptions
from disdel.platforms.http.posting import Failed, Posting
from disdel.protocol.calls import CALLS_VERSION, KEY
from tests.contract.test_platform import action
from tests.support.http_gateway import found, gateway, invoked, record, using


def test_a_call_is_one_post_with_its_deadline_and_its_key():
    with gateway() as server:
        assert using(server, invoked(invocation="key1", n=1)).ending == "success"
    [(request, headers, _)] = server.asked
    assert (headers[KEY], request["timeout_s"], request["arguments"]["n"]) == ("key1", 10.0, 1)


def test_a_function_that_takes_two_at_once_gets_fifty_done():
    """ShadowClone#46: what is throttled is sent again, with pauses, and fewer at once."""
    running, lock, most, refused = [0], threading.Lock(), [0], [0]

    def answer(request, _):
        with lock:
            if running[0] == 2:
                refused[0] += 1
                return 429, {}, "Rate exceeded"
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return record(request, {"n": request["arguments"]["n"]})

    async def use(platform):
        calls = (platform.invoke("p", "act", {"n": n}) for n in range(50))
        return await asyncio.gather(*calls), platform._gate.allowed

    with gateway(answer, instances=16) as server:
        records, allowed = using(server, use)
    assert sorted(each.result["n"] for each in records) == list(range(50))
    assert 0 < refused[0] < 100
    assert allowed < 16


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttle_says_how_long_to_wait(status):
    answers = [(status, {"Retry-After": "1"}, "busy")]

    def answer(request, _):
        return answers.pop() if answers else record(request)

    with gateway(answer) as server:
        assert using(server, invoked()).ending == "success"
    first, second = (at_s for *_, at_s in server.asked)
    assert second - first >= 1


CUTS = [None, (502, {}, b""), (504, {}, b"upstream request timeout"), (500, {}, b"oops")]


@pytest.mark.parametrize("cut", CUTS)
def test_work_that_was_done_before_its_connection_was_cut_is_not_done_again(cut):
    """knative/serving#13953, gunicorn#2529: the handler ends well, and nobody hears it."""
    ran = Begun(activation_id="a" * 32, ended=True, result={"n": 7})
    with gateway(lambda *_: cut) as server:
        told = using(server, invoked(found(ran)))
    assert (told.ending, told.result, told.id) == ("success", {"n": 7}, "a" * 32)
    assert len(server.asked) == 1


def test_work_that_still_runs_is_waited_for():
    """of-watchdog#51: a gateway's time-out is shorter than the function's."""
    runs = Begun(activation_id="a" * 32)
    ended = replace(runs, ended=True, result={"error": {"kind": "x", "message": "y"}})
    with gateway(lambda *_: (504, {}, b"")) as server:
        told = using(server, invoked(found(None, runs, runs, ended)))
    assert (told.ending, len(server.asked)) == ("application-error", 1)


@pytest.mark.parametrize(
    ("seen", "why"), [({}, "has not ended in its time"), ({"ended": True}, "its answer got lost")]
)
def test_work_whose_answer_is_nowhere_is_a_loss(monkeypatch, seen, why):
    monkeypatch.setattr(http_client, "_ANSWER_S", 0.2)
    with gateway(lambda *_: None) as server:
        runs = Begun(activation_id="a" * 32, **seen)
        told = using(server, invoked(found(runs)), spec=action(timeout_s=0.5))
    assert (told.ending, len(server.asked)) == ("platform-error", 1)
    assert why in told.result["error"]


def test_what_has_not_begun_is_sent_again_as_another_activation_of_the_same_key(monkeypatch):
    monkeypatch.setattr(http_client, "_LOOK_S", 0.1)
    cuts = list(CUTS)

    def answer(request, _):
        return cuts.pop() if cuts else record(request)

    with gateway(answer) as server:
        assert using(server, invoked(found(None), invocation="k")).ending == "success"
    assert len({request["activation_id"] for request, *_ in server.asked}) == len(CUTS) + 1
    assert {headers[KEY] for _, headers, _ in server.asked} == {"k"}


def test_a_call_that_takes_long_is_asked_once():
    """boto3#1104: a read time-out below the function's made eight of one."""

    def answer(request, _):
        time.sleep(2.5)
        return record(request)

    with gateway(answer) as server:
        told = using(server, invoked(), "start=0.5", spec=action(timeout_s=3.0))
    assert (told.ending, len(server.asked)) == ("success", 1)


def test_another_ones_claim_is_waited_for():
    async def use(platform):
        return await platform.record("p", "act", "a" * 32, timeout_s=5, begun=looks)

    looks = found(
        Begun(activation_id="a" * 32), Begun(activation_id="a" * 32, ended=True, result={"n": 1})
    )
    with gateway() as server:
        assert using(server, use).result == {"n": 1}


def test_an_endless_answer_is_not_read():
    with (
        gateway(lambda *_: (200, {}, b"x" * (4 << 20))) as server,
        pytest.raises(PlatformLost, match=r"its answer is longer than \d+ bytes"),
    ):
        using(server, invoked(), patience_s=0.5)


def test_a_token_is_asked_for_once_and_again_when_it_has_ended(tmp_path):
    """An IAM token command; what it prints is nowhere but in the header."""
    count, valid = tmp_path / "count", ["first"]
    command = f"sh -c 'echo x >> {count}; cat {tmp_path}/token'"
    (tmp_path / "token").write_text("first\n")

    def answer(request, headers):
        if headers["Authorization"] != f"Bearer {valid[0]}":
            return 401, {}, "expired"
        return record(request)

    async def use(platform):
        for _ in range(5):
            await platform.invoke("p", "act", {})
        (tmp_path / "token").write_text("second\n")
        valid[0] = "second"
        # It may be that the first was only just asked for.
        platform._posting._tokens._until_s -= 100
        return await platform.invoke("p", "act", {})

    with gateway(answer) as server:
        assert using(server, use, f"token_command={command}").ending == "success"
    assert len(count.read_text().split()) == 2


def test_a_token_that_is_refused_is_told_without_it(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    raised = pytest.raises(ConnectionRefused, match=r"refuses the token \(403")
    with gateway(lambda *_: (403, {}, "no")) as server, raised as refused:
        using(server, invoked(), "token_env=MY_TOKEN", "key_env=MY_TOKEN")
    assert "s3cret" not in str(refused.value)
    assert server.seen[-1]["Authorization"] == "Bearer s3cret"
    assert server.seen[-1]["X-Disdel-Token"] == "s3cret"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["token_env=NO_SUCH"], "NO_SUCH, and there is no such variable"),
        (["token_env=A", "token_file=B"], "name one of them"),
        (["token_file=/no/such"], "token_file /no/such cannot be read"),
        (["token_command=/no/such x"], "token_command /no/such cannot be run"),
        (["token_command=false"], r"token_command false has printed no token \(status 1\)"),
        (["token_command=echo a b"], "it must print one word"),
    ],
)
def test_a_token_that_cannot_be_had(options, said):
    with gateway() as server, pytest.raises(UsageError, match=said):
        using(server, invoked(), *options)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x/", "no address of the form https://HOST/PATH"),
        ("nothing", "no address of the form"),
        ("https://me:pw@x/", "has a password in it"),
        ("http://functions.example/", "would travel to http://functions.example/ in the clear"),
    ],
)
def test_an_address_that_is_none(monkeypatch, url, said):
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    with pytest.raises(UsageError, match=said) as refused:
        using(url, invoked(), "token_env=MY_TOKEN")
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ((404, {}, b"not found"), "404, which is not its answer"),
        ((200, {}, b"<html>"), "not as a function of disdel's"),
        ((302, {"location": "https://login.example/?x=1"}, b""), "it sends to https://login"),
        ((409, {}, {"disdel": 0, "refused": "update disdel there"}), "update disdel there"),
        ({"disdel": CALLS_VERSION}, "does not tell"),
    ],
)
def test_what_answers_and_is_no_function_of_disdels(hello, said):
    with gateway() as server:
        server.hello = hello
        with pytest.raises((ConnectionRefused, PlatformRejected), match=said):
            using(server, invoked())


def test_nobody_answers():
    with pytest.raises(ConnectionRefused, match=r"no function answers at http://127.0.0.1:1/"):
        using("http://127.0.0.1:1/", invoked())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (action(timeout_s=9.5), r"cut after 9 s here \(exec_timeout, the least limit on the way\)"),
        (action(memory_mb=961), "961 MB, and an action has 64 to 960 MB here"),
        (action(memory_mb=63), "63 MB, and an action has 64 to 960 MB here"),
    ],
)
def test_what_would_be_cut_is_refused_before_it_is_sent(spec, said):
    known = {"timeout": 60.0, "exec_timeout": 10.0, "write_timeout": 30.0}
    with gateway(timeouts=known) as server, pytest.raises(PlatformRejected, match=said):
        using(server, invoked(), spec=spec)
    assert not server.asked


def test_limits_that_nobody_knows_are_asked_for():
    with gateway(timeouts={}) as server:
        with pytest.raises(UsageError, match=r"may take is unknown: .*timeout_max=SECONDS"):
            using(server, invoked())
        assert using(server, invoked(), "timeout_max=30").ending == "success"
    with gateway(instances=None) as server:
        with pytest.raises(UsageError, match=r"run at once is unknown: .*instances=N"):
            using(server, invoked())
        assert using(server, invoked(), "instances=2").ending == "success"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_arguments_at_the_limit(more):
    async def use(platform):
        most = (await platform.capacity()).payload_bytes
        text = "y" * (most - len('{"x": ""}') + more)
        return await platform.invoke("p", "act", {"x": text})

    with gateway() as server:
        if more <= 0:
            assert using(server, use).ending == "success"
        else:
            with pytest.raises(PlatformRejected, match="bytes of JSON, and the platform takes"):
                using(server, use)


def test_a_request_that_a_gateway_finds_too_long_is_told_with_its_size():
    refused = pytest.raises(PlatformRejected, match=r"does not take a request of \d+ bytes: 413")
    with gateway(lambda *_: (413, {}, b"")) as server, refused:
        using(server, invoked())


def test_an_answer_that_comes_in_drops_ends_with_its_time():
    ended = asyncio.Event()

    async def drops(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        ended.set()

    async def post():
        server = await asyncio.start_server(drops, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        posting = Posting(HttpOptions(urls=(url,)), insecure=False)
        try:
            async with asyncio.timeout(30):
                await posting.post(url, "{}", key="", read_s=0.3, most_bytes=2**20)
        finally:
            await posting.close()
            await ended.wait()
            server.close()

    with pytest.raises(Failed, match=r"not whole after 0.3 s"):
        asyncio.run(post())
