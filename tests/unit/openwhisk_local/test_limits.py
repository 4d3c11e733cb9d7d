from __future__ import annotations

from typing import Any

import pytest

from openwhisk_local.limits import ActionLimits, action_limits, platform_limits
from openwhisk_local.replies import ApiError
from openwhisk_local.rest.query import Page, Query
from openwhisk_local.rest.throttle import Throttle

STOCK = platform_limits("stock")


def test_profiles() -> None:
    roomy = platform_limits("roomy", user_memory_mb=3000)
    assert (STOCK.user_memory_mb, STOCK.max_memory_mb) == (1024, 512)
    assert (STOCK.invokes_per_minute, STOCK.concurrent_invokes) == (60, 30)
    assert (roomy.user_memory_mb, roomy.max_memory_mb, roomy.standard_memory_mb) == (
        3000,
        4096,
        256,
    )
    assert platform_limits("roomy").user_memory_mb > 0
    hosted = platform_limits("digitalocean", user_memory_mb=2048)
    assert (hosted.min_memory_mb, hosted.max_memory_mb, hosted.user_memory_mb) == (128, 1024, 2048)
    assert (hosted.invokes_per_minute, hosted.concurrent_invokes) == (600, 120)
    assert action_limits({"timeout": 900_000}, hosted).timeout_ms == 900_000
    with pytest.raises(ApiError, match="900001 milliseconds exceeds"):
        action_limits({"timeout": 900_001}, hosted)


def test_omitted_limits_are_standard_or_old() -> None:
    standard = ActionLimits(60_000, 256, 10, 1)
    assert action_limits({}, STOCK) == standard
    assert action_limits({"memory": 128.0, "logs": 0}, STOCK) == ActionLimits(60_000, 128, 0, 1)
    old = ActionLimits(100, 512, 1, 1)
    assert action_limits({"timeout": 200}, STOCK, old) == ActionLimits(200, 512, 1, 1)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({"memory": 513}, "memory size 513 MB exceeds allowed threshold of 512 MB"),
        ({"memory": 127}, "memory size 127 MB below allowed threshold of 128 MB"),
        (
            {"timeout": 300_001},
            "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds",
        ),
        (
            {"timeout": 99},
            "duration 99 milliseconds below allowed threshold of 100 milliseconds",
        ),
        ({"logs": 11}, "log size 11 MB exceeds allowed threshold of 10 MB"),
        ({"concurrency": 2}, "concurrency 2 exceeds allowed threshold of 1"),
    ],
)
def test_out_of_range(wire: dict[str, int], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        action_limits(wire, STOCK)
    assert (refused.value.status, refused.value.message) == (400, f"requirement failed: {message}")


@pytest.mark.parametrize("value", ["256", True, [], {}])
def test_no_number(value: object) -> None:
    with pytest.raises(ApiError) as refused:
        action_limits({"memory": value}, STOCK)
    assert refused.value.message == "The request content was malformed:\nmemory limit malformed"


@pytest.mark.parametrize("value", [128.5, 1e400])
def test_not_whole(value: object) -> None:
    with pytest.raises(ApiError) as refused:
        action_limits({"memory": value}, STOCK)
    assert refused.value.message == (
        "The request content was malformed:\nrequirement failed: memory limit must be whole number"
    )


def test_the_minute_is_the_calendars() -> None:
    throttle = Throttle(STOCK)
    for _ in range(60):
        throttle.attempt(now_s=119.9)
    with pytest.raises(ApiError) as refused:
        throttle.attempt(now_s=119.9)
    assert refused.value.status == 429
    assert refused.value.message == (
        "Too many requests in the last minute (count: 61, allowed: 60)."
    )
    throttle.attempt(now_s=120.0)


def test_concurrency_counts_until_the_end() -> None:
    throttle = Throttle(STOCK)
    for _ in range(30):
        throttle.attempt(now_s=0.0)
        throttle.begin()
    with pytest.raises(ApiError, match=r"in flight \(count: 30, allowed: 30\)\."):
        throttle.attempt(now_s=0.0)
    throttle.end()
    throttle.attempt(now_s=0.0)


def test_pages() -> None:
    assert Query({}).page("actions") == Page(30, 0, False)
    assert Query({"limit": "0", "skip": "3", "count": "yes"}).page("actions") == Page(200, 3, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"limit": "201"},
            "The query parameter 'limit' was malformed:\n"
            "The value '201' is not in the range of 0 to 200 for actions.",
        ),
        (
            {"limit": "x"},
            "The query parameter 'limit' was malformed:\n"
            "The value 'x' is not an integer for actions.",
        ),
        (
            {"skip": "-1"},
            "The query parameter 'skip' was malformed:\n"
            "The value '-1' is not greater than or equal to 0 for actions.",
        ),
        (
            {"count": "maybe"},
            "The query parameter 'count' was malformed:\n'maybe' is not a valid Boolean value",
        ),
    ],
)
def test_bad_pages(values: dict[str, str], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        Query(values).page("actions")
    assert refused.value.message == message


@pytest.mark.parametrize("text", ["0", "60001", "x", "", "1.5", "-1"])
def test_blocking_timeout(text: str) -> None:
    query: dict[str, Any] = {"timeout": text}
    with pytest.raises(ApiError) as refused:
        Query(query).blocking_timeout_s()
    assert refused.value.message == (
        "The query parameter 'timeout' was malformed:\n"
        "Timeout must be number of milliseconds up to 60000."
    )
    assert Query({}).blocking_timeout_s() == 60.0
