"""`disdel memory-agent`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from disdel import config
from disdel.errors import UsageError
from disdel.memory_agent.decide import Policy
from disdel.units import MIB

DEFAULT_STEP_MB = 256


def memory_agent_command(
    ceiling: Annotated[
        int, typer.Option("--ceiling", metavar="MB", help="Largest memory limit of one pod.")
    ],
    pool: Annotated[
        int, typer.Option("--pool", metavar="MB", help="Largest sum of all action pods' limits.")
    ],
    step: Annotated[
        int, typer.Option("--step", metavar="MB", help="What one warning adds to a limit.")
    ] = DEFAULT_STEP_MB,
    namespace: Annotated[
        str, typer.Option("--namespace", help="Where OpenWhisk's invoker starts action pods.")
    ] = "openwhisk",
    redis: Annotated[
        str | None,
        typer.Option("--redis", metavar="URL", help="What the actions use; else DISDEL_REDIS."),
    ] = None,
) -> None:
    """Grow action pods on Kubernetes when their memory monitors warn, until it is stopped.

    Needs Kubernetes 1.33 or later, and `pip install 'disdel[kubernetes]'`.
    """
    for name, value in (("ceiling", ceiling), ("pool", pool), ("step", step)):
        if value < 1:
            raise UsageError(f"--{name} is {value} and must be at least 1 MB")
    url = config.redis_url(redis)
    if url is None:
        raise UsageError("name the Redis that the actions use, with --redis URL or DISDEL_REDIS")
    from disdel.memory_agent.agent import serve
    from disdel.memory_agent.pods import connect

    # As process 1 of a pod it would ignore the signal otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    policy = Policy(step_bytes=step * MIB, ceiling_bytes=ceiling * MIB, pool_bytes=pool * MIB)
    serve(url, connect(namespace), policy, lambda line: typer.echo(line, err=True))
