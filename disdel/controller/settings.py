"""Where a run happens and what it may leave: everything that is not the job itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import disdel
from disdel import config
from disdel.errors import UsageError
from disdel.types import Aims, Limits
from disdel.types.checks import take_fields

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*", re.ASCII)

LimitsName = Literal["roomy", "stock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a run; None means what `disdel.config` finds.

    Attributes:
        apihost: an OpenWhisk's URL; without one anywhere, the embedded platform is started.
        auth: its key, `uuid:secret`.
        insecure: do not check the API host's certificate.
        redis: a Redis URL that the actions reach; without one a private server is started.
        image_prefix: before the names of the runtime images.
        image_tag: of the runtime images.
        action_env: variables of the actions' environment, each as `NAME=VALUE`.
        arch: CPU architectures of the platform's nodes, as `amd64,arm64`, for compiled networks.
        data_dir: prepared data sets.
        run_dir: one folder a run.
        patience_network_s: how long a platform or a Redis that fails is tried again.
        keep: leave package, actions and stored weights when the run ends.
        limits: what the user allows beyond what the platform allows.
        aims: what the plan is to be good at.
        platform_limits: the limits of an embedded platform started for this run.

    Raises:
        UsageError: a value is of another type, or a variable has no name.
    """

    apihost: str | None = None
    auth: str | None = None
    insecure: bool = False
    redis: str | None = None
    image_prefix: str | None = None
    image_tag: str | None = None
    action_env: tuple[str, ...] = ()
    arch: str | None = None
    data_dir: Path | None = None
    run_dir: Path | None = None
    patience_network_s: float | None = None
    keep: bool = False
    limits: Limits = field(default_factory=Limits)
    aims: Aims = field(default_factory=Aims)
    platform_limits: LimitsName = "roomy"

    def __post_init__(self) -> None:
        take_fields(self, limits="limits", aims="aims", platform_limits="--limits")
        for pair in self.action_env:
            if _VARIABLE.fullmatch(pair) is None:
                # It may hold a secret.
                name = pair.partition("=")[0][:40]
                raise UsageError(f"--action-env must be NAME=VALUE, not {name!r} and so on")

    @property
    def action_variables(self) -> tuple[tuple[str, str], ...]:
        """The names and values of `action_env`."""
        pairs = (pair.partition("=") for pair in self.action_env)
        return tuple((name, value) for name, _, value in pairs)

    def image(self, name: str) -> str:
        """The full name of a runtime image."""
        prefix, tag = config.image_prefix(self.image_prefix), self.image_tag
        return f"{prefix}{name}:{config.image_tag(tag, disdel.__version__)}"
