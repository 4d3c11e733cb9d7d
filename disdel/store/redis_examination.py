"""Whether a Redis can hold a run, seen before the run: what it is, what it allows, its room."""

from __future__ import annotations

import secrets
from typing import Any

import redis

from disdel.errors import ConnectionRefused
from disdel.store.examination import KEEPS_ALL, Examination
from disdel.types.units import MIB

# UNLINK came with 4.0.
_OLDEST = (4, 0)
# A chunk of 1 MiB with its few bytes of header has the next class of jemalloc's, 1.25 MiB.
_CHUNK_FACTOR = {"jemalloc": 1.25}
_TRIAL_TTL_S = 60
# What a run needs of a server's access control list, and no more.
RIGHTS = "~disdel:* +@read +@write +@keyspace +@connection -@dangerous +info"


def examine(client: redis.Redis, address: str) -> Examination:
    """Look at a server, and try what a run does with it.

    Raises:
        ConnectionRefused: a run's data cannot be kept there.
        redis.RedisError: it failed meanwhile.
    """
    info = _info(client)
    why = refusal(info)
    if why is not None:
        raise ConnectionRefused(f"the Redis at {address} {why}")
    _try_out(client, address)
    makes_users = _makes_users(client)
    if not info:
        return Examination(told=False, makes_users=makes_users)
    maximum = int(info.get("maxmemory", 0))
    if not maximum:
        return Examination(makes_users=makes_users)
    policy = str(info.get("maxmemory_policy", KEEPS_ALL))
    factor = _CHUNK_FACTOR.get(str(info.get("mem_allocator", "")).partition("-")[0], 1.0)
    return Examination(
        room_mb=int(max(0, maximum - int(info["used_memory"])) / factor / MIB),
        maxmemory_mb=maximum // MIB,
        # Every key of a run expires some day, so the policies for such keys (volatile-…) take
        # them as the others (allkeys-…) do.
        evicts=None if policy == KEEPS_ALL else policy,
        makes_users=makes_users,
    )


def _info(client: redis.Redis) -> dict[str, Any]:
    """What the server says of itself; empty where it may not be asked."""
    try:
        return client.info()
    except redis.exceptions.ResponseError as error:
        # Not for this user, or renamed by a provider.
        if isinstance(error, redis.exceptions.NoPermissionError) or "unknown command" in str(error):
            return {}
        raise


def refusal(info: dict[str, Any]) -> str | None:
    """Why no run can be kept on a server that says this, or None."""
    if info.get("redis_mode") == "sentinel":
        return (
            "is a Sentinel, which stores nothing: name the server that it watches (SENTINEL "
            "GET-MASTER-ADDR-BY-NAME)"
        )
    if info.get("cluster_enabled") or info.get("redis_mode") == "cluster":
        return (
            "is a node of a Redis Cluster, which spreads keys over servers, and a run needs all of "
            "them on one: name a server with cluster-enabled no"
        )
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        return f"is a replica, and what is written there is lost: name its primary, {primary}"
    version = str(info.get("redis_version", ""))
    numbers = version.split(".")[: len(_OLDEST)]
    if version and all(n.isdecimal() for n in numbers) and tuple(map(int, numbers)) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return f"has version {version}, and a run needs {oldest} or newer: name a newer one"
    return None


def _try_out(client: redis.Redis, address: str) -> None:
    """Use every command that runs use, on keys such as theirs.

    Raises:
        ConnectionRefused: one is not allowed.
    """
    key = f"disdel:check-{secrets.token_hex(4)}:"
    with client.pipeline(transaction=False) as pipe:
        pipe.set(f"{key}blob", b"x", ex=_TRIAL_TTL_S, nx=True)
        pipe.get(f"{key}blob")
        pipe.exists(f"{key}blob")
        pipe.getrange(f"{key}blob", 0, 0)
        pipe.hset(f"{key}hash", "field", "value")
        pipe.hsetnx(f"{key}hash", "field", "value")
        pipe.hget(f"{key}hash", "field")
        pipe.hgetall(f"{key}hash")
        pipe.expire(f"{key}hash", _TRIAL_TTL_S)
        pipe.scan(match=f"{key}*", count=1)
        pipe.unlink(f"{key}blob", f"{key}hash")
        answers = pipe.execute(raise_on_error=False)
    refused = [str(answer) for answer in answers if _is_refused(answer)]
    if refused:
        raise ConnectionRefused(
            f"the Redis at {address} refuses what a run does there: {refused[0]}; give the user "
            f"{RIGHTS} (ACL SETUSER), or name another one in the URL"
        )
    for answer in answers:
        if isinstance(answer, redis.exceptions.ReadOnlyError):
            raise ConnectionRefused(
                f"the Redis at {address} is a read-only replica: name its primary"
            )
        if isinstance(answer, redis.exceptions.MovedError):
            raise ConnectionRefused(f"the Redis at {address} {refusal({'cluster_enabled': 1})}")
        if isinstance(answer, redis.exceptions.OutOfMemoryError):
            raise ConnectionRefused(
                f"the Redis at {address} is full ({answer}): raise its maxmemory, or name another"
            )
        if isinstance(answer, Exception):
            raise answer


def _makes_users(client: redis.Redis) -> bool:
    """Whether users can be made: who may remove one that there is not may make one."""
    try:
        client.acl_deluser(f"disdel-check-{secrets.token_hex(4)}")
    except redis.exceptions.ResponseError:
        # Not for this user, older than Redis 6, or renamed by a provider.
        return False
    return True


def _is_refused(answer: object) -> bool:
    unknown = isinstance(answer, redis.exceptions.ResponseError) and "unknown command" in str(
        answer
    )
    return unknown or isinstance(answer, redis.exceptions.NoPermissionError)
