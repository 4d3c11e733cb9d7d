"""`disdel memory-agent`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from disdel import config
from disdel.errors import UsageError
from disdel.memory_agent.decide import Policy
from disdel.memory_grant import SECRET_ENV, find_secret
from disdel.units import MIB

DEFAULT_STEP_MB = 256
DEFAULT_ACTIVATION_MB = 1024
# A quantity of Kubernetes has 63 bits.
_MOST_MB = (2**63 - 1) // MIB


def memory_agent_command(
    ceiling: Annotated[
        int,
        typer.Option(
            "--ceiling", metavar="MB", min=1, max=_MOST_MB, help="Largest memory limit of one pod."
        ),
    ],
    pool: Annotated[
        int,
        typer.Option(
            "--pool",
            metavar="MB",
            min=1,
            max=_MOST_MB,
            help="Largest sum of all action pods' limits.",
        ),
    ],
    step: Annotated[
        int,
        typer.Option(
            "--step", metavar="MB", min=1, max=_MOST_MB, help="What one warning adds to a limit."
        ),
    ] = DEFAULT_STEP_MB,
    per_activation: Annotated[
        int,
        typer.Option(
            "--per-activation",
            metavar="MB",
            min=1,
            max=_MOST_MB,
            help="The most that one activation is given, all its warnings together.",
        ),
    ] = DEFAULT_ACTIVATION_MB,
    namespace: Annotated[
        str, typer.Option("--namespace", help="Where OpenWhisk's invoker starts action pods.")
    ] = "openwhisk",
    redis: Annotated[
        str | None,
        typer.Option("--redis", metavar="URL", help="What the actions use; else DISDEL_REDIS."),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            help="The controllers' DISDEL_MEMORY_SECRET, which is read where this is not given.",
        ),
    ] = None,
) -> None:
    """Grow action pods on Kubernetes when their memory monitors warn, until it is stopped.

    Needs Kubernetes 1.33 or later, and `pip install 'disdel[kubernetes]'`. Only warnings of
    controllers that have its secret are heard.
    """
    url = config.redis_url(redis)
    if url is None:
        raise UsageError("name the Redis that the actions use, with --redis URL or DISDEL_REDIS")
    secret = find_secret(secret_file)
    if secret is None:
        raise UsageError(
            f"name what warnings are signed with, by --secret-file FILE or {SECRET_ENV}: "
            "`openssl rand -hex 32` makes one, and the controllers need the same"
        )
    from disdel.memory_agent.agent import Agent
    from disdel.memory_agent.check import Checker
    from disdel.memory_agent.cluster import connect
    from disdel.memory_agent.pods import KubernetesPods

    # As process 1 of a pod it would ignore the signal otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    policy = Policy(
        step_bytes=step * MIB,
        ceiling_bytes=ceiling * MIB,
        pool_bytes=pool * MIB,
        activation_bytes=per_activation * MIB,
    )

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    pods = KubernetesPods(connect(), namespace)
    tell(f"{pods.check()} action pods in {namespace}")
    Agent(pods, policy, Checker(secret), tell).serve(url)
