"""`python -m openwhisk_local`: run a platform until told to stop.

It stops on SIGTERM, on SIGINT and, with `--stop-on-eof`, when its standard input ends: that is how
it notices that the command which started it is gone, however that ended. Until then, each line
there is a kind or an image of which containers will be wanted soon.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_args

from openwhisk_local.containers.images import stem_key
from openwhisk_local.containers.pool import Stem
from openwhisk_local.errors import Refused, StateError
from openwhisk_local.limits import (
    MAX_ENTITIES_MB,
    MAX_RECORDS,
    MAX_RECORDS_MB,
    Profile,
    platform_limits,
)
from openwhisk_local.machine.allocator import collect_rarely, keep_large_blocks_apart
from openwhisk_local.records import PlatformRecord
from openwhisk_local.replies import MAX_DEPTH

if TYPE_CHECKING:
    # It imports the servers.
    from openwhisk_local.platform import Settings


def main() -> int:
    collect_rarely()
    # Code of megabytes comes and goes as text, body and bytes.
    keep_large_blocks_apart()
    # JSON may be as deep as upstream reads it.
    sys.setrecursionlimit(4 * MAX_DEPTH)
    options = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_run(_settings(options), options.ready_fd, stop_on_eof=options.stop_on_eof))
    except (OSError, Refused, StateError, MemoryError) as error:
        failure = _failure(error)
        # Whoever starts it reads what is told there; a log may have no room for it.
        with contextlib.suppress(OSError):
            os.write(options.ready_fd, f"{json.dumps(failure)}\n".encode())
        with contextlib.suppress(OSError):
            sys.stderr.write(f"the platform cannot start: {failure['error']}\n")
        return 2 if isinstance(error, Refused) else 1
    return 0


def _failure(error: BaseException) -> dict[str, object]:
    """Why the platform does not start; of the system's errors also what `OSError` is made from."""
    if isinstance(error, MemoryError):
        return {"error": f"this host has no memory left {error}".strip()}
    # One that is raised here has a sentence in place of a number.
    if isinstance(error, OSError) and error.errno is not None:
        named = [name and os.fsdecode(name) for name in (error.filename, error.filename2)]
        return {"error": str(error), "os_error": [error.errno, error.strerror, *named]}
    return {"error": str(error), "refused": isinstance(error, Refused)}


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "openwhisk-local"


def _settings(options: argparse.Namespace) -> Settings:
    from openwhisk_local.invoking.record_store import RecordLimits
    from openwhisk_local.platform import Settings

    limits = platform_limits(options.limits, options.user_memory)
    prewarmed_mb = sum(stem.memory_mb * stem.count for stem in options.prewarm)
    if prewarmed_mb > limits.user_memory_mb:
        # What is kept for them is nobody else's: there would be room for no other container.
        raise Refused(
            f"--prewarm asks for {prewarmed_mb} MB of containers, and there are "
            f"{limits.user_memory_mb} MB for all: fewer, or more --user-memory"
        )
    return Settings(
        limits=limits,
        port=options.port,
        state_dir=options.state_dir or _state_dir(),
        shared=options.shared,
        only_sampling=options.enforcement == "sampling",
        log=options.log,
        stems=tuple(options.prewarm),
        grow_to_mb=options.grow_to,
        state=options.state,
        records=RecordLimits(options.max_records, options.max_records_mb),
        entities_mb=options.max_entities_mb,
        namespaces=tuple(options.namespace),
        pass_env=tuple(options.pass_env),
    )


class _Parser(argparse.ArgumentParser):
    """What it refuses is an option of the command that starts the platform."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message.removeprefix('argument ')}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m openwhisk_local", description=__doc__)
    parser.add_argument(
        "--limits",
        choices=get_args(Profile),
        default="roomy",
        help="roomy: actions of up to 4096 MB; stock: OpenWhisk's defaults; digitalocean: as there",
    )
    parser.add_argument("--user-memory", type=_positive, metavar="MB", help="of all containers")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 is any free one")
    parser.add_argument("--state-dir", type=Path, help="where running platforms are recorded")
    parser.add_argument("--shared", action="store_true", help="let other commands find it")
    parser.add_argument("--log", type=Path, help="where the output goes, removed in the end")
    parser.add_argument(
        "--enforcement",
        choices=("auto", "sampling"),
        default="auto",
        help="of memory limits: by the kernel where possible, or always by sampling",
    )
    parser.add_argument(
        "--prewarm",
        type=_stem,
        action="append",
        default=[],
        metavar="KIND_OR_IMAGE:MB:COUNT",
        help="keep so many containers started for whoever needs one of that size; repeatable",
    )
    parser.add_argument(
        "--grow-to",
        type=_not_negative,
        default=0,
        metavar="MB",
        help="raise the limit of a container that reaches it, up to this; 0 never does",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="keep packages, actions, activations and the key there",
    )
    parser.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NAME",
        help="have this namespace beside guest, with a key of its own; repeatable",
    )
    parser.add_argument(
        "--pass-env",
        action="append",
        default=[],
        metavar="NAME",
        help="let containers inherit this variable; repeatable",
    )
    parser.add_argument(
        "--max-records",
        type=_positive,
        default=MAX_RECORDS,
        metavar="N",
        help=f"keep the newest activation records, {MAX_RECORDS} by default",
    )
    parser.add_argument(
        "--max-records-mb",
        type=_positive,
        default=MAX_RECORDS_MB,
        metavar="MB",
        help=f"and no more of them than this together, {MAX_RECORDS_MB} by default",
    )
    parser.add_argument(
        "--max-entities-mb",
        type=_positive,
        default=MAX_ENTITIES_MB,
        metavar="MB",
        help="of packages, actions with their code, triggers and rules together, "
        f"{MAX_ENTITIES_MB} by default",
    )
    parser.add_argument(
        "--ready-fd", type=int, default=1, help="where the line goes that says how to connect"
    )
    parser.add_argument("--stop-on-eof", action="store_true")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _not_negative(text: str) -> int:
    return 0 if int(text) == 0 else _positive(text)


def _stem(text: str) -> Stem:
    image, *numbers = text.rsplit(":", 2)
    key = stem_key(image)
    if len(numbers) != 2 or key is None or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not KIND_OR_IMAGE:MB:COUNT with a kind or an image of this machine"
        )
    return Stem(key, _positive(numbers[0]), _positive(numbers[1]))


async def _run(settings: Settings, ready_fd: int, *, stop_on_eof: bool) -> None:
    from openwhisk_local.platform import serve

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    expected: asyncio.Queue[str] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stop_on_eof:
        wait = threading.Thread(
            target=_read_to_eof,
            args=(
                lambda line: loop.call_soon_threadsafe(expected.put_nowait, line),
                lambda: loop.call_soon_threadsafe(stop.set),
            ),
            name="read-to-eof",
            daemon=True,
        )
        wait.start()

    def ready(record: PlatformRecord) -> None:
        os.write(ready_fd, record.announcement().encode())
        if ready_fd > 2:
            os.close(ready_fd)

    await serve(settings, stop, ready, expected)


def _read_to_eof(on_line: Callable[[str], object], then: Callable[[], object]) -> None:
    rest = b""
    while read := os.read(0, 4096):
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            on_line(line.decode())
    then()


if __name__ == "__main__":
    status = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Who waits for its end does not wait for an interpreter that is taken apart.
    os._exit(status)
