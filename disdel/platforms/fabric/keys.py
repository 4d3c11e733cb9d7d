"""The keys of a fabric file: the fields here, each with its `Setting`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from disdel.settings import LimitsName
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

Place = Literal["time", "price"]
MOST = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """What a file says of an endpoint; what is not said, its platform says.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    platform: Annotated[
        str, Setting("Its platform, by the name that --platform takes.", metavar="NAME")
    ]
    address: Annotated[
        str | None, Setting("Where it answers: an API host, or a URL.", metavar="URL")
    ] = None
    key_env: Annotated[
        str | None,
        Setting("The environment variable that holds its key.", metavar="VARIABLE"),
    ] = None
    key_file: Annotated[
        Path | None, Setting("The file that holds its key, and nothing else.", metavar="FILE")
    ] = None
    signing_key_env: Annotated[
        str | None,
        Setting(
            "The environment variable that holds the secret that signs what it is asked and "
            "answers; --signing-key is that of endpoints without one.",
            metavar="VARIABLE",
        ),
    ] = None
    signing_key_file: Annotated[
        Path | None, Setting("The file that holds that secret.", metavar="FILE")
    ] = None
    containers: Annotated[
        int | None,
        Setting(
            "Containers that it may hold at the same time.",
            low=1,
            high=10_000,
            default="what its platform allows",
        ),
    ] = None
    memory_max_mb: Annotated[
        int | None,
        Setting("Most memory of an action.", low=1, high=MOST, default="its platform's limit"),
    ] = None
    pool_memory_mb: Annotated[
        int | None,
        Setting(
            "Most memory of all its containers.", low=1, high=MOST, default="its platform's limit"
        ),
    ] = None
    sizes: Annotated[
        tuple[str, ...],
        Setting("The sizes in MB that an action can have; any, where none are given."),
    ] = ()
    time_limit_s: Annotated[
        float | None,
        Setting("Longest activation.", above=0, high=86_400, default="its platform's limit"),
    ] = None
    payload_bytes: Annotated[
        int | None,
        Setting(
            "Largest request and answer, in bytes.",
            name="payload",
            low=1024,
            high=MOST,
            default="its platform's limit",
        ),
    ] = None
    cpus: Annotated[
        int | None,
        Setting("CPUs of all its containers.", low=1, high=65_536, default="what it tells"),
    ] = None
    architecture: Annotated[
        Literal["amd64", "arm64", "x86_64"] | None,
        Setting("Of its CPUs, for compiled networks.", default="this machine's"),
    ] = None
    labels: Annotated[
        tuple[str, ...], Setting("Words by which clients may be bound to it, and to others.")
    ] = ()
    store: Annotated[
        str | None,
        Setting(
            "How its containers reach the store, where that is another address than for this "
            "machine; user and password are those of --redis.",
            metavar="URL",
        ),
    ] = None
    price_gb_s: Annotated[
        float | None,
        Setting(
            "What it takes for a GB·s, in US dollars.",
            metavar="USD",
            low=0,
            high=1_000_000,
            default="the list price of its platform, where that has one",
        ),
    ] = None
    price_invocation: Annotated[
        float | None,
        Setting("What it takes for an activation, likewise.", metavar="USD", low=0, high=1_000_000),
    ] = None
    insecure: Annotated[bool, Setting("Do not verify its certificate.")] = False
    limits: Annotated[
        LimitsName | None,
        Setting(
            "Limits of who hosts an OpenWhisk, or of the embedded platform.",
            default="what it tells",
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)

    @property
    def arch(self) -> str | None:
        """The architecture of its CPUs in Kubernetes' names."""
        return "amd64" if self.architecture == "x86_64" else self.architecture

    @property
    def sizes_mb(self) -> tuple[int, ...]:
        return tuple(sorted(int(size) for size in self.sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricOptions:
    """What a file says of all endpoints together."""

    quorum: Annotated[
        int | None,
        Setting(
            "How many endpoints must answer, at the start and as long as a run lasts.",
            low=1,
            high=1000,
            default="all at the start, and one from then on",
        ),
    ] = None
    place: Annotated[
        Place,
        Setting(
            "Clients that belong to no endpoint are dealt out so that a round ends early, or is "
            "cheap; --place says so, too."
        ),
    ] = "time"
    collect: Annotated[
        str | None,
        Setting(
            "The endpoint that makes the averages.",
            metavar="NAME",
            default="the first that answers",
        ),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientsOptions:
    """A table of clients; two of its keys exclude each other."""

    ids: Annotated[str, Setting('Clients by their ids, as "0-2", "0-2, 7" or [0, 1, 7].')]
    endpoint: Annotated[str | None, Setting("The endpoint that they train on.")] = None
    label: Annotated[
        str | None, Setting("They train on the endpoints with this label, instead.")
    ] = None
    moves: Annotated[
        bool | None,
        Setting(
            "Whether they train elsewhere while their endpoints do not answer.",
            default="true, but with --data: clients that have data of their own never do",
        ),
    ] = None
