"""More at once than there are containers: nothing is lost, and what comes first goes first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.openwhisk import OpenWhisk
from tests.support.platforms import embedded
from tests.support.waiting import DEADLINE_S

pytestmark = pytest.mark.only_embedded("needs a pool whose size it knows, and for itself")

CONTAINERS = 4
INVOCATIONS = 200
SHORT = (
    "import time, uuid\n"
    "CONTAINER = uuid.uuid4().hex\n"
    "def main(args):\n"
    "    time.sleep(0.01)\n"
    "    return {'n': args['n'], 'container': CONTAINER}\n"
)


@pytest.fixture
def four(tmp_path: Path) -> Iterator[OpenWhisk]:
    """A platform with room for four containers."""
    with embedded(tmp_path / "state", user_memory_mb=CONTAINERS * 128) as user:
        yield user


def test_all_at_once(four: OpenWhisk) -> None:
    url = f"/api/v1/namespaces/_/actions/{four.action(SHORT)}?blocking=true"

    async def run() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=four.access.apihost,
            auth=four.http.auth,
            timeout=DEADLINE_S,
            trust_env=False,
            limits=limits,
        ) as client:
            posts = (client.post(url, json={"n": n}) for n in range(INVOCATIONS))
            return await asyncio.gather(*posts)

    replies = asyncio.run(run())
    assert {reply.status_code for reply in replies} == {200}
    results = [reply.json()["response"]["result"] for reply in replies]
    assert [result["n"] for result in results] == [*range(INVOCATIONS)]
    assert len({result["container"] for result in results}) <= CONTAINERS
    assert len({reply.json()["activationId"] for reply in replies}) == INVOCATIONS


def test_one_after_another(four: OpenWhisk) -> None:
    name = four.action(SHORT)
    ids = []
    for n in range(INVOCATIONS):
        reply = four.post(f"/actions/{name}", json={"n": n})
        assert reply.status_code == 202
        ids.append(reply.json()["activationId"])
    records = [four.activation(activation_id) for activation_id in ids]
    assert all(record["response"]["success"] for record in records)
    # The first ones wait for their own containers, all others for whichever is free.
    queued = [record["start"] for record in records[CONTAINERS:]]
    assert all(one <= other for one, other in itertools.pairwise(queued))
    containers = {record["response"]["result"]["container"] for record in records}
    assert len(containers) == CONTAINERS
