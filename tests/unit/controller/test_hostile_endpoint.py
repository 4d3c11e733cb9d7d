"""An endpoint of a fabric that is hostile: the others' clients finish, and theirs is the result."""

import asyncio
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from disdel.controller.federating.federate import federate
from disdel.controller.training import train as train_module
from disdel.errors import PlatformError, PlatformRejected
from disdel.platforms.endpoints import Endpoint, Endpoints
from disdel.platforms.fabric.binding import Binding, homes_of
from disdel.platforms.fabric.client import Fabric, Member
from disdel.protocol.signing import Signer, check_request
from disdel.protocol.signing_keys import ENDPOINT_ENV, KEY_ENV
from disdel.settings import Settings
from disdel.store.codec import encode
from disdel.store.redis_store import RedisStore
from disdel.types import FederateJob
from disdel.worker.trust import admitted
from tests.support import deadlines
from tests.support.fake_platform import CAPACITY, FakePlatform, sessions_of
from tests.support.waiting import wait_until
from tests.unit.controller.test_federating import Containers

SECRETS = {"left": b"l" * 32, "right": b"r" * 32}
BINDINGS = tuple(
    Binding(ids=(ids,), endpoints=(name,), moves=False, source="a file")
    for name, ids in (("left", range(4)), ("right", range(4, 8)))
)
# Of the left endpoint alone, which is the result where the right one counts for nothing.
LEFT = 18
BOTH = pytest.approx(29.98887, abs=1e-5)


class Function:
    """What answers at an endpoint as it should."""

    def __init__(self, name, containers, folder):
        self.environ = {KEY_ENV: SECRETS[name].decode(), ENDPOINT_ENV: name}
        self.containers, self.folder = containers, folder

    def __call__(self, arguments):
        sign = admitted(arguments, self.environ, self.folder)
        return sign(self.containers.train(arguments))


@pytest.fixture
def federated(redis_url, monkeypatch, tmp_path):
    """The report of a federation whose right endpoint trains by `hostile(answer, arguments)`."""
    store = RedisStore(redis_url)
    containers = Containers(store)

    def run(hostile, **changes):
        good = {name: Function(name, containers, tmp_path) for name in SECRETS}

        def right(arguments):
            if arguments["task"] in ("score", "combine", "collect"):
                return good["right"](arguments)
            return hostile(good["right"], arguments)

        handlers = {"left": good["left"], "right": right}
        fabric = Fabric(
            [
                Member(name, Raising({"train": one, "collectWeights": one}), CAPACITY)
                for name, one in handlers.items()
            ]
        )
        opened = sessions_of(fabric, store, redis_url)
        endpoints = Endpoints(
            all=tuple(
                Endpoint(
                    name=name,
                    platform="http",
                    settings=Settings(),
                    capacity=CAPACITY,
                    signing_secret=secret,
                )
                for name, secret in SECRETS.items()
            ),
            capacity=CAPACITY,
            place="time",
            collect=("left", "right"),
            binds=True,
            homes=lambda clients, own_data: homes_of(BINDINGS, clients, own_data=own_data),
        )

        def with_endpoints(*args, **kwargs):
            return Opening(opened(*args, **kwargs), endpoints)

        monkeypatch.setattr(train_module, "open_session", with_endpoints)
        plain = {"clients": 8, "batch_size": 10, "rounds": 2, "min_clients": 1}
        job = FederateJob(
            dataset="digits", runtime="tensorflow", local_epochs="1*4,2*4", **{**plain, **changes}
        )
        return asyncio.run(federate(job, Settings(run_dir=tmp_path / "runs"), lambda _: None))[0]

    yield run
    store.close()


class Opening:
    """A session with endpoints."""

    def __init__(self, opened, endpoints):
        self.opened, self.endpoints = opened, endpoints

    async def __aenter__(self):
        return replace(await self.opened.__aenter__(), endpoints=self.endpoints)

    async def __aexit__(self, *ended):
        return await self.opened.__aexit__(*ended)


class Raising(FakePlatform):
    """Its handlers may return what the client of the platform raises."""

    async def invoke(self, package, action, arguments, *, timeout_s=60.0, begun=None):
        record = await super().invoke(package, action, arguments, timeout_s=timeout_s, begun=begun)
        raise_ = record.result.get("raise") if isinstance(record.result, dict) else None
        if raise_ is not None:
            raise raise_
        return record


def of_another_run(answer, arguments):
    signer = Signer(key=b"k" * 32, endpoint="right")
    sent = signer.signed({"run": "another:1", "invocation": "i"}, lasts_s=60)
    plain = {name: value for name, value in answer(arguments).items() if name != "signature"}
    return check_request(sent, lambda _run, _endpoint: b"k" * 32)(plain)


def nan(answer, arguments):
    reply = answer(arguments)
    reply["results"][0]["loss_sum"] = math.nan
    return reply


def never(answer, arguments):
    store = RedisStore(arguments["store"])
    told = partial(store.fields, arguments["open_key"])
    wait_until(lambda: not (said := told()) or said.get("closed") == str(arguments["round"]))
    return {"error": {"kind": "cancelled", "message": "the round is over"}}


def spoilt(content, answer, arguments):
    reply = answer(arguments)
    RedisStore(arguments["store"]).put(arguments["sum_key"], content)
    return reply


def a_sum(elements=1, **told):
    """A stored sum of other updates than the four clients'."""
    metadata = {"updates": "4", "weight": "718.0", "exponent": "0", **told}
    return encode({"sums": np.ones(elements, np.int64)}, metadata)


HOSTILE = {
    "unsigned": lambda answer, arguments: {**answer(arguments), "signature": None},
    "wrong key": lambda answer, arguments: {**answer(arguments), "signature": "0" * 64},
    "another run's": of_another_run,
    "NaN": nan,
    "no object": lambda answer, arguments: {"results": "many"},
    "long": lambda answer, arguments: {**answer(arguments), "more": "x" * (8 << 20)},
    "error": lambda answer, arguments: {"error": "I will not"},
    "another's claim": lambda answer, arguments: {"claimed_by": "f" * 32},
    "refuses": lambda answer, arguments: {"raise": PlatformRejected("I will not", status=400)},
    "lost action": lambda answer, arguments: {"raise": PlatformRejected("no such", status=404)},
    "NaN update": partial(spoilt, encode({"w": np.full(1, np.nan)})),
    "no update": partial(spoilt, b"no tensors at all"),
    "no header": partial(spoilt, (4).to_bytes(8, "little") + b"[{}]"),
    "more updates": partial(spoilt, a_sum(updates="8")),
    "endless weight": partial(spoilt, a_sum(weight="inf")),
    "another network's": partial(spoilt, a_sum(elements=7)),
    "no record": lambda answer, arguments: {"raise": PlatformError("the answer is no record")},
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_endpoint_disturbs_nobody(federated, hostile):
    report = federated(hostile, rounds=1)
    [entry] = report.rounds
    assert entry.loss == LEFT
    assert entry.clients.answered == 4
    assert {one.client for one in entry.clients.dropped} == set(range(4, 8))
    assert all(one.why.startswith("endpoint right: ") for one in entry.clients.dropped)
    assert {entry.client for entry in report.ledger} == set(range(4))


def test_one_that_never_answers_is_late(federated, monkeypatch):
    deadlines.ends_at(monkeypatch, answered=4)
    report = federated(never, deadline_s=deadlines.DEADLINE_S, rounds=1)
    assert report.rounds[0].loss == LEFT
    assert report.rounds[0].clients.answered == 4


def test_one_that_answers_twice_counts_once(federated):
    def twice(answer, arguments):
        answer(arguments)
        return answer(arguments)

    report = federated(twice)
    assert [entry.clients.answered for entry in report.rounds] == [8, 8]
    assert [entry.loss for entry in report.rounds] == [BOTH, pytest.approx(2 * 29.98887, abs=1e-4)]


def test_one_that_sends_an_old_answer_counts_for_nothing_that_it_did_not_do(federated):
    first = []

    def old(answer, arguments):
        first.append(answer(arguments))
        return first[0]

    report = federated(old)
    assert [entry.clients.answered for entry in report.rounds] == [8, 4]
