"""`disdel memory-agent`."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from disdel.errors import UsageError
from disdel.memory_agent.decide import Policy
from disdel.protocol.memory_grant import SECRET_ENV, find_secret
from disdel.settings.texts import checked_text
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from disdel.types.units import MIB

DEFAULT_STEP_MB = 256
DEFAULT_ACTIVATION_MB = 1024
# A quantity of Kubernetes has 63 bits.
_MOST_MB = (2**63 - 1) // MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How far pods may grow, and whom the agent believes.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    VARIABLES: ClassVar[str] = "DISDEL_AGENT_"

    ceiling_mb: Annotated[int, Setting("Largest memory limit of a pod.", low=1, high=_MOST_MB)]
    pool_mb: Annotated[
        int, Setting("Largest sum of all action pods' memory limits.", low=1, high=_MOST_MB)
    ]
    step_mb: Annotated[
        int, Setting("How much one warning adds to a limit.", low=1, high=_MOST_MB)
    ] = DEFAULT_STEP_MB
    per_activation_mb: Annotated[
        int,
        Setting(
            "How much one activation may gain in all.",
            low=1,
            high=_MOST_MB,
        ),
    ] = DEFAULT_ACTIVATION_MB
    namespace: Annotated[
        str, Setting("Namespace in which OpenWhisk's invoker starts action pods.", metavar="NAME")
    ] = "openwhisk"
    redis: Annotated[
        str | None,
        Setting("The Redis that the actions use.", metavar="URL", variables=("DISDEL_REDIS",)),
    ] = None
    secret_file: Annotated[
        Path | None,
        Setting(
            "File with the controllers' secret; without it, DISDEL_MEMORY_SECRET is read.",
            metavar="FILE",
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)


def memory_agent_command(agent: AgentOptions) -> None:
    """Grow action pods on Kubernetes when their memory monitors warn, until it is stopped.

    Needs Kubernetes 1.33 or later, and `pip install 'disdel[kubernetes]'`. Only warnings of
    controllers with the same secret count.
    """
    if agent.redis is None:
        raise UsageError("name the Redis that the actions use, with --redis URL or DISDEL_REDIS")
    secret = find_secret(agent.secret_file)
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
        step_bytes=agent.step_mb * MIB,
        ceiling_bytes=agent.ceiling_mb * MIB,
        pool_bytes=agent.pool_mb * MIB,
        activation_bytes=agent.per_activation_mb * MIB,
    )

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    pods = KubernetesPods(connect(), agent.namespace)
    tell(f"{pods.check()} action pods in {agent.namespace}")
    Agent(pods, policy, Checker(secret), tell).serve(
        checked_text("the Redis (--redis)", agent.redis)
    )
