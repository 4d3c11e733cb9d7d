"""Endpoints of a fabric with a key each: what is signed for one is refused by another."""

import asyncio
from dataclasses import replace

import pytest

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.berths import Berth
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.invoking.invoker import Call, Invoker
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.runs.run_folder import RunFolder
from disdel.errors import ActivationFailed, DisdelError
from disdel.platforms.base import ActionSpec
from disdel.platforms.endpoints import Endpoint, Endpoints
from disdel.platforms.fabric.client import Fabric, Member
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import ScoreReply
from disdel.protocol.signing_keys import ENDPOINT_ENV, FILE_ENV
from disdel.settings import Settings
from disdel.store.memory_store import MemoryStore
from disdel.types.events import silent
from disdel.worker.trust import admitted
from tests.support.fake_platform import CAPACITY, FakePlatform, sessions_of

SHARED, OWN = b"s" * 32, b"o" * 32
SCORED = {"samples": 1, "loss_sum": 1.0, "correct": 1, "peak_mb": 1}


class Function:
    """What somebody has deployed, with a secret and a name in its environment."""

    def __init__(self, folder, secret, name=""):
        folder.mkdir()
        self.folder = folder
        (folder / "secret").write_bytes(secret)
        self.environ = {FILE_ENV: str(folder / "secret"), ENDPOINT_ENV: name}
        self.asked = []

    def __call__(self, arguments):
        self.asked.append(arguments)
        try:
            return admitted(arguments, self.environ, self.folder)(dict(SCORED))
        except DisdelError as error:
            return {"error": {"kind": error.kind, "message": str(error)}}


@pytest.fixture
def ask(tmp_path):
    """Has two functions score, `left` and `right`; what came of it, or the reason why not."""

    def run(left, right, *, newer=False):
        functions = {"left": left, "right": right}
        own = {"left": None, "right": OWN}
        platforms = {name: FakePlatform({"train": one}) for name, one in functions.items()}
        fabric = Fabric([Member(name, one, CAPACITY) for name, one in platforms.items()])
        endpoints = Endpoints(
            all=tuple(
                Endpoint(
                    name=name,
                    platform="http",
                    settings=Settings(),
                    capacity=CAPACITY,
                    signing_secret=secret,
                    store_url=lambda url, name=name: f"{url}/{name}",
                )
                for name, secret in own.items()
            ),
            capacity=CAPACITY,
            place="time",
            collect=("left", "right"),
            binds=False,
            homes=lambda clients, own_data: None,
        )

        async def work():
            async with sessions_of(fabric, MemoryStore(), "redis://u:p@h")(None) as session:
                session = replace(session, endpoints=endpoints, signing_secret=SHARED)
                invoker = Invoker(session, "p", RunKeys("r:1"), RunFolder(tmp_path), silent)
                invoker.framework = {"torch": "99.1.0"} if newer else {}
                await invoker.deploy()
                spec = ActionSpec(
                    name="train", code=build_bundle("train"), memory_mb=256, timeout_s=60
                )
                action = SizedAction(fabric, "p", spec, timeout_max_s=60, signer=invoker.signer)
                ended = await asyncio.gather(
                    *(asked(invoker, action, name) for name in functions), return_exceptions=True
                )
                await invoker.logs.finish()
                return ended

        return dict(zip(functions, asyncio.run(work()), strict=True)), platforms

    return run


async def asked(invoker, action, endpoint):
    berth = Berth(
        planned=Attempt(memory_mb=256), memory_max_mb=512, pool_mb=None, endpoint=endpoint
    )
    spec = await action.of_size(256, berth=berth)
    call = Call(
        action=spec.name,
        endpoint=endpoint,
        request=ScoreReply(**SCORED),
        task="score",
        worker=None,
        round=1,
        memory_mb=256,
        timeout_s=60,
    )
    return await invoker.call(call, ScoreReply)


def test_each_endpoint_is_asked_with_its_own_key_and_store(ask, tmp_path):
    left = Function(tmp_path / "left", SHARED, "left")
    right = Function(tmp_path / "right", OWN, "right")
    found, platforms = ask(left, right)
    assert [reply.samples for reply in found.values()] == [1, 1]
    for name, function in (("left", left), ("right", right)):
        [sent] = function.asked
        assert sent["signature"]["endpoint"] == name
        assert sent["store"] == f"redis://u:p@h/{name}"
        # Another endpoint of the same secret refuses it all the same.
        other = Function(tmp_path / f"beside-{name}", (SHARED, OWN)[name == "right"], "other")
        assert f"is for the endpoint {name}, and this" in other(sent)["error"]["message"]
    codes = [next(iter(one.actions.values())).code for one in platforms.values()]
    assert codes[0] != codes[1]


@pytest.mark.parametrize(
    ("secret", "name", "why"),
    [
        (SHARED, "", "not by this endpoint's key"),
        (SHARED, "right", "not by this endpoint's key"),
        (OWN, "left", "this endpoint is left"),
    ],
)
def test_an_endpoint_of_another_key_or_name_refuses(ask, tmp_path, secret, name, why):
    """So it does nothing for it, and its refusal is signed by nobody: the other has answered."""
    found, _ = ask(
        Function(tmp_path / "left", SHARED, "left"), Function(tmp_path / "right", secret, name)
    )
    assert found["left"].samples == 1
    assert isinstance(found["right"], ActivationFailed)
    assert why in found["right"].reason


def test_two_that_are_exchanged_refuse_both(ask, tmp_path):
    found, _ = ask(Function(tmp_path / "left", OWN, "right"), Function(tmp_path / "right", SHARED))
    assert all(isinstance(one, ActivationFailed) for one in found.values())


def test_endpoints_without_the_framework_of_the_network_say_who_is_to_update(ask, tmp_path):
    functions = (Function(tmp_path / "left", SHARED), Function(tmp_path / "right", OWN))
    found, _ = ask(*functions, newer=True)
    for failed in found.values():
        assert "the controller has torch 99.1.0 and this endpoint" in failed.reason
        assert "update this endpoint" in failed.reason
