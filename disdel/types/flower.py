"""A run of a Flower app: what the user asked for, and what is told of its messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

_MOST_NODES = 100_000
_MOST_CONTAINERS = 10_000
_MOST_MB = 2**31
_FLOWER = "Flower"

# How a message has ended: with the ClientApp's answer; with what it raised; its container was lost
# too often; its time to live was over.
MessageEnding = Literal["ok", "raised", "lost", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerJob:
    """What the user asked for; None leaves nodes, containers and memory to be found.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    VARIABLES: ClassVar[str] = "DISDEL_FLOWER_"

    app: Annotated[
        Path,
        Setting(
            "Folder of a Flower app, with its pyproject.toml.", metavar="APP_DIR", argument=True
        ),
    ]
    run_config: Annotated[
        tuple[str, ...],
        Setting(
            "Overrides of [tool.flwr.app.config], as for `flwr run`: KEY=VALUE, with a space "
            "between two, or a TOML file; may be repeated.",
            metavar="KEY=VALUE",
            short="-c",
            group=_FLOWER,
        ),
    ] = ()
    num_supernodes: Annotated[
        int | None,
        Setting(
            "Nodes, each with a partition id of its own.",
            low=1,
            high=_MOST_NODES,
            default="as in [tool.flwr.federations], else Flower's own default",
            group=_FLOWER,
        ),
    ] = None
    federation: Annotated[
        str | None,
        Setting(
            "Which of [tool.flwr.federations] says how many nodes there are.",
            metavar="NAME",
            default="its default",
            group=_FLOWER,
        ),
    ] = None
    containers: Annotated[
        int | None,
        Setting(
            "Most messages that are worked on at the same time, each in a container.",
            words={"auto": None},
            low=1,
            high=_MOST_CONTAINERS,
            group=_FLOWER,
        ),
    ] = None
    memory_mb: Annotated[
        int | None,
        Setting(
            "Memory of a ClientApp's container to begin with; auto measures it.",
            words={"auto": None},
            low=1,
            high=_MOST_MB,
            group=_FLOWER,
        ),
    ] = None
    image: Annotated[
        str | None,
        Setting(
            "Container image that has flwr and the app's packages, where actions do not run with "
            "the packages of this machine.",
            metavar="IMAGE",
            group=_FLOWER,
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)
        if not self.app.is_dir():
            why = "is no folder" if self.app.exists() else "does not exist"
            raise UsageError(f"{self.app} {why}: name the folder of a Flower app")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEntry:
    """One message of the ServerApp to a node, and what became of it.

    Attributes:
        message: Flower's id of it.
        node: Flower's id of the node, and
        partition: its number.
        round: that it is of, as Flower's strategies say it; 0 where nobody does.
        type: of the message, as `train` or `evaluate.ACTION`.
        outcome: how it ended.
        attempts: activations that were begun for it.
        sent_bytes: of its content, and
        reply_bytes: of the reply, as Flower serialises them.
        wall_s: from the ServerApp's sending to the reply.
        gb_s: of all its activations.
        activation: the one whose reply counts; None where none does.
        container: where that was, as the container calls itself.
        endpoint: likewise, of a platform that is several.
        checksum: SHA-256 of the reply, in hexadecimal.
        metrics: numbers that the reply's MetricRecords hold.
        error: why there is no answer.
    """

    message: str
    node: str
    partition: int
    round: int
    type: str
    outcome: MessageEnding
    attempts: int
    sent_bytes: int
    reply_bytes: int = 0
    # Not what the message came to: the same may take longer, or another way.
    wall_s: float = field(compare=False)
    gb_s: float = field(compare=False)
    activation: str | None = field(default=None, compare=False)
    container: str | None = field(default=None, compare=False)
    endpoint: str | None = field(default=None, compare=False)
    checksum: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerReport:
    """What a report tells of a Flower app.

    Attributes:
        app: the app, as `publisher/name`, and
        version: its version.
        flwr: the version of Flower.
        nodes: how many there were.
        containers: messages that could be worked on at the same time.
        memory_mb: of a ClientApp's container at the end of the run.
        basis: what the memory was planned by.
        timeout_s: the time limit of an activation.
        run_config: as the app has seen it.
        messages: in the order in which they ended.
    """

    app: str
    version: str
    flwr: str
    nodes: int
    containers: int
    memory_mb: int
    basis: str
    timeout_s: float
    run_config: dict[str, bool | int | float | str] = field(default_factory=dict)
    messages: tuple[MessageEntry, ...] = ()
