"""Which container an activation gets, and who waits."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

from tests.support.embedded import (
    WAIT,
    WHERE,
    User,
    annotations,
    proxies,
)
from tests.support.waiting import wait_until


def test_warm_until_updated(guest: User) -> None:
    guest.put("where", WHERE)
    first, second = (guest.invoke("where").json() for _ in range(2))
    assert second["response"] == first["response"]
    assert "initTime" not in annotations(second)
    guest.put("where", WHERE)
    third = guest.invoke("where").json()
    assert "initTime" in annotations(third)
    assert third["response"]["result"] != first["response"]["result"]


def test_a_warm_container_that_died_is_replaced(guest: User) -> None:
    guest.put("dies", WHERE)
    container = guest.invoke("dies").json()["response"]["result"]["container"]
    proxies(guest.record)[container].kill()
    wait_until(lambda: container not in proxies(guest.record))
    again = guest.invoke("dies").json()
    assert again["response"]["success"]
    assert again["response"]["result"]["container"] != container


def test_eviction_takes_the_least_recently_used(small: User) -> None:
    for name in ("a", "b", "c"):
        small.put(name, WHERE)
    first = {name: small.invoke(name).json()["response"]["result"]["container"] for name in "ab"}
    small.invoke("a")
    small.invoke("c")
    assert first["b"] not in proxies(small.record)
    assert small.invoke("a").json()["response"]["result"]["container"] == first["a"]
    assert len(proxies(small.record)) == 2


def test_a_full_pool_queues(small: User, tmp_path: Path) -> None:
    small.put("wait", WAIT)
    small.put("where", WHERE)
    ends = [tmp_path / "end0", tmp_path / "end1"]
    marks = [tmp_path / "mark0", tmp_path / "mark1"]
    running = [
        small.start("wait", until=str(end), started=str(mark))
        for end, mark in zip(ends, marks, strict=True)
    ]
    wait_until(lambda: all(mark.exists() for mark in marks))
    assert len(proxies(small.record)) == 2
    queued = small.start("where")
    later = small.start("where")
    assert small.client.get(f"/activations/{queued}").status_code == 404
    ends[0].touch()
    record = small.activation(queued)
    assert record["response"]["success"]
    assert annotations(record)["waitTime"] > 0
    assert small.activation(later)["start"] >= record["start"]
    ends[1].touch()
    seen = {small.activation(each)["response"]["result"]["container"] for each in running}
    assert len(seen) == 2


def test_parallel_invocations_get_a_container_each(guest: User, tmp_path: Path) -> None:
    guest.put("wait", WAIT)
    until = tmp_path / "until"
    marks = [tmp_path / f"mark{number}" for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        replies = [
            threads.submit(guest.invoke, "wait", until=str(until), started=str(mark))
            for mark in marks
        ]
        wait_until(lambda: all(mark.exists() for mark in marks))
        until.touch()
        seen = {reply.result().json()["response"]["result"]["container"] for reply in replies}
    assert len(seen) == 4


def test_an_action_above_the_user_memory(small: User) -> None:
    small.put("large", memory=512)
    reply = small.invoke("large")
    assert reply.status_code == 500
    response = reply.json()["response"]
    assert response["status"] == "whisk internal error"
    assert response["result"] == {"error": "Failed to provision resources to run the action."}
