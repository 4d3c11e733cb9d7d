"""What is said to a node of a Flower app, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from disdel.types.phases import Phases

# The folder of the app's files in its bundle.
APP_FOLDER = "flower_app"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerRequest:
    """Let the app's ClientApp answer a message, or only load it where `message` is None.

    `client_app` is a reference as `module:attribute`. `message` is Flower's Message without its
    content, and `content_key` leads to that; `context_key` leads to the node's Context as it was
    left by its last message. All three are Flower's own protobuf, the message in base64. The reply
    goes to `reply_key`, and the context as it then is to `new_context_key`. `threads` is for
    libraries that ask their environment for it.
    """

    task: Literal["flower"] = "flower"
    client_app: str
    flwr: str
    worker: int
    client: int | None = None
    round: int = 0
    attempt: int = 0
    threads: int | None = None
    message: str | None = None
    content_key: str = ""
    context_key: str = ""
    reply_key: str = ""
    new_context_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerFailure:
    """What a ClientApp has raised: Flower's `code` and `reason` of it, and `said`, for people."""

    code: int
    reason: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerReply:
    """What an activation of a ClientApp says of itself.

    The reply is of `reply_bytes` with the SHA-256 `checksum`, and has the numbers `metrics`. Where
    the ClientApp raised an error, `failure` says which, and the reply carries it as Flower's Error.
    """

    container: str
    activation: str
    flwr: str
    failure: FlowerFailure | None = None
    reply_bytes: int = 0
    checksum: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    peak_mb: int
    working_set_mb: int
    phases: Phases = field(default_factory=Phases)
