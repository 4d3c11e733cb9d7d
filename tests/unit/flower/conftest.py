"""A courier whose platform is this process, and nodes that are functions."""

import asyncio
import hashlib
import time
from types import MappingProxyType

import pytest

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.invoker import Invoker
from disdel.controller.runs.run_folder import RunFolder
from disdel.flower.courier import Courier, Node
from disdel.flower.mailbox import Letter
from disdel.flower.places import Place, Places
from disdel.flower.room import Room
from disdel.flower.sizing import Sizes
from disdel.platforms.base import ActionSpec
from disdel.protocol.keys import RunKeys
from disdel.store.memory_store import MemoryStore
from disdel.types import ActivationRecord
from tests.support.fake_platform import FakePlatform, sessions_of
from tests.support.waiting import DEADLINE_S


class Nodes:
    """Answers messages as the action does: counts in the node's context, and stores its reply.

    Attributes:
        happens: what is called with each request first; what it returns is how the activation ends.
        peak_mb: what an activation says that it took.
    """

    def __init__(self, store):
        self.store = store
        self.happens = lambda request: None
        self.peak_mb = 100
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        number = len(self.requests)
        kept = int(bytes(self.store.get(request["context_key"])))
        reply = b"%d of %s" % (kept + 1, bytes(self.store.get(request["content_key"])))
        self.store.put(request["new_context_key"], b"%d" % (kept + 1))
        self.store.put(request["reply_key"], reply)
        # What was lost may have written all of it.
        if (ended := self.happens(request)) is not None:
            return ended
        return {
            "container": "c0ffee",
            "activation": f"{number:032x}",
            "flwr": "1.42.0",
            "reply_bytes": len(reply),
            "checksum": hashlib.sha256(reply).hexdigest(),
            "peak_mb": self.peak_mb,
            "working_set_mb": self.peak_mb,
        }


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def nodes(store):
    return Nodes(store)


@pytest.fixture
def told():
    return []


@pytest.fixture
def deliver(store, nodes, told, tmp_path):
    """Brings the letters of functions of a courier to their end; the courier and the letters.

    A letter to a partition lives for as long as `ttl_s` says of it, or for as long as tests wait.
    """

    def run(*pairs, ttl_s=MappingProxyType({}), most_mb=1024, endpoints=(None,), **placing):
        async def work():
            platform = FakePlatform({"flowerClient": nodes})
            keys = RunKeys.of_turn("run", "turn")
            store.set_field(keys.open, "wire_version", "9")
            async with sessions_of(platform, store, "redis://nowhere")(None) as session:
                invoker = Invoker(session, "disdel-run", keys, RunFolder(tmp_path), told.append)
                await invoker.deploy()
                spec = ActionSpec(name="flowerClient", code=b"", memory_mb=256, timeout_s=60)
                courier = Courier(
                    invoker=invoker,
                    places=Places(
                        tuple(
                            Place(Sizes(128, most_mb, None, 60), 2, Room(2, None), 2, "image", one)
                            for one in endpoints
                        ),
                        **placing,
                    ),
                    actions={
                        None if one is None else one.name: SizedAction(
                            platform, "disdel-run", spec, timeout_max_s=60
                        )
                        for one in endpoints
                    },
                    client_app="app:app",
                    flwr="1.42.0",
                    nodes=[Node(id=str(n), context_key=f"first:{n}") for n in range(4)],
                    memory_mb=256,
                )
                for node in courier.nodes:
                    store.put(node.context_key, b"0")
                letters = [
                    Letter(
                        message=f"m{place}",
                        partition=partition,
                        type="train",
                        round=1,
                        expires_s=time.time() + ttl_s.get(partition, DEADLINE_S),
                        digest=content,
                        sent_bytes=len(content),
                        packed="",
                    )
                    for place, (partition, content) in enumerate(pairs)
                ]
                for letter in letters:
                    await courier.stage(letter.digest, letter.digest.encode())
                    courier.hold(letter)
                for letter in letters:
                    await courier.release(letter.digest)
                await asyncio.gather(*map(courier.deliver, letters))
                await invoker.logs.finish()
                return courier, letters

        return asyncio.run(work())

    return run


@pytest.fixture
def ended():
    """Records of activations that ended otherwise than well."""

    def make(ending="vanished", reason="it has exited"):
        return ActivationRecord(
            id="f" * 32,
            action="flowerClient",
            start_ms=0,
            duration_ms=100,
            wait_ms=0,
            init_ms=None,
            ending=ending,
            result={"error": reason},
        )

    return make
