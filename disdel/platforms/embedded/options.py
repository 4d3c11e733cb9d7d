"""How an embedded platform is started, as its user may choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from disdel.host.environment import state_dir
from disdel.settings import LimitsName
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from openwhisk_local.limits import MAX_ENTITIES_MB, MAX_RECORDS, MAX_RECORDS_MB


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """How to start a platform; None leaves a choice to the platform or to the settings.

    Args:
        port: 0 is any free one.
        enforcement: "auto" limits memory by the kernel where it can.
        state_dir: where running platforms are recorded.
        state: the folder that keeps packages, actions, activations and the key from one platform
            to the next; None keeps nothing.
        prewarm: containers to keep started, each `KIND_OR_IMAGE:MB:COUNT`.
        grow_to_mb: up to where the limit of a container grows that reaches it; 0 is not at all.
        max_records: how many activation records are kept, and `max_records_mb` of how many MB
            together; beyond that the oldest go.
        namespaces: those beside `guest`, each with a key of its own.
        max_entities_mb: what packages, actions, triggers and rules may take, their code included.
    """

    VARIABLES: ClassVar[str] = "DISDEL_PLATFORM_"

    limits: Annotated[
        LimitsName,
        Setting("Limits of a roomy deployment, OpenWhisk's defaults, or those of who hosts one."),
    ] = "roomy"
    user_memory_mb: Annotated[
        int | None,
        Setting("Memory of all containers together.", low=1, default="by the limits"),
    ] = None
    prewarm: Annotated[
        tuple[str, ...],
        Setting(
            "Keep COUNT containers started; may be repeated.", metavar="KIND_OR_IMAGE:MB:COUNT"
        ),
    ] = ()
    grow_to_mb: Annotated[
        int,
        Setting(
            "Raise the memory limit of a container that is about to reach it, up to this; 0"
            " never does.",
            low=0,
        ),
    ] = 0
    state: Annotated[
        Path | None,
        Setting("Folder that keeps actions, activations and the key.", metavar="DIR"),
    ] = None
    namespaces: Annotated[
        tuple[str, ...],
        Setting(
            "A namespace beside guest, with its own key; may be repeated.",
            name="namespace",
            metavar="NAME",
        ),
    ] = ()
    max_records: Annotated[
        int, Setting("Activation records to keep; the oldest are removed.", low=1)
    ] = MAX_RECORDS
    max_records_mb: Annotated[
        int, Setting("Size of all activation records together.", name="max_records_mb", low=1)
    ] = MAX_RECORDS_MB
    max_entities_mb: Annotated[
        int,
        Setting(
            "Size of all packages, actions, triggers and rules together.",
            name="max_entities_mb",
            low=1,
        ),
    ] = MAX_ENTITIES_MB
    port: Annotated[int, Setting("Port on 127.0.0.1; 0 takes a free one.", low=0, high=65_535)] = 0
    enforcement: Literal["auto", "sampling"] = "auto"
    state_dir: Path | None = None

    def __post_init__(self) -> None:
        take_fields(self)

    @property
    def state_folder(self) -> Path:
        return self.state_dir or state_dir()

    def arguments(self) -> list[str]:
        """The command line of `openwhisk_local` that they are."""
        arguments = [
            f"--limits={self.limits}",
            f"--port={self.port}",
            f"--enforcement={self.enforcement}",
            f"--state-dir={self.state_folder.absolute()}",
            f"--grow-to={self.grow_to_mb}",
            f"--max-records={self.max_records}",
            f"--max-records-mb={self.max_records_mb}",
            f"--max-entities-mb={self.max_entities_mb}",
            *(f"--prewarm={stem}" for stem in self.prewarm),
            *(f"--namespace={name}" for name in self.namespaces),
        ]
        if self.state is not None:
            arguments.append(f"--state={self.state.absolute()}")
        if self.user_memory_mb is not None:
            arguments.append(f"--user-memory={self.user_memory_mb}")
        return arguments
