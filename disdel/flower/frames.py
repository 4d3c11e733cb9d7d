"""What the ServerApp's process and the controller say to each other, over a pair of sockets.

A frame is a JSON object and bytes, with the lengths of both before them. The process sends

| `op` | is | bytes |
| --- | --- | --- |
| `app` | what the app is (`server.AppFacts`) | its files, as a zip |
| `refused` | why the app cannot be run | |
| `content` | contents of messages that follow, by `digest` | Flower's RecordDict |
| `push` | a message (`mailbox.Letter`) | |
| `pushed` | no message refers to `digests` any more that is not sent | |
| `pull` | which replies to `ids` are there, within `wait_s` | |
| `ended` | the ServerApp has ended, `error` says how where not well | |

and is answered to `pull` by a frame with its `q`, and told by `start` that nodes are there.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct("!IQ")


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing that is said: a JSON object and bytes."""

    head: Mapping[str, Any]
    body: bytes | bytearray = b""


class LinkLost(Exception):
    """The other side has ended."""


def packed(head: Mapping[str, Any], body: bytes | bytearray) -> bytes:
    """What stands before the bytes of a frame."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), len(body)) + text


def send(link: socket.socket, head: Mapping[str, Any], body: bytes | bytearray = b"") -> None:
    """Send a frame; others must not send at the same time.

    Raises:
        LinkLost: nobody reads it.
    """
    try:
        link.sendall(packed(head, body))
        if body:
            link.sendall(body)
    except OSError as error:
        raise LinkLost(str(error)) from error


def receive(link: socket.socket) -> Frame:
    """The next frame.

    Raises:
        LinkLost: there is none any more.
    """
    text_bytes, body_bytes = _LENGTHS.unpack(_exactly(link, _LENGTHS.size))
    head = json.loads(bytes(_exactly(link, text_bytes)))
    return Frame(head, _exactly(link, body_bytes))


def _exactly(link: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        try:
            got = link.recv_into(rest)
        except OSError as error:
            raise LinkLost(str(error)) from error
        if not got:
            raise LinkLost("the other side has ended")
        rest = rest[got:]
    return data


async def receive_async(reader: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        LinkLost: there is none any more.
    """
    try:
        lengths = await reader.readexactly(_LENGTHS.size)
        text_bytes, body_bytes = _LENGTHS.unpack(lengths)
        head = json.loads(await reader.readexactly(text_bytes))
        return Frame(head, await reader.readexactly(body_bytes))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise LinkLost(str(error)) from error
