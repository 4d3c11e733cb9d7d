"""The process of a ServerApp: `python -P -m disdel.flower.server_process FD`.

The controller starts it, is told by it what the app is, and then takes its messages over the socket
FD. What the ServerApp prints is printed here; an error of its is logged as Flower logs it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from hashlib import blake2b
from typing import Any

from disdel.errors import UsageError
from disdel.flower.frames import LinkLost, receive, send


def main(descriptor: int) -> int:
    connection = socket.socket(fileno=descriptor)
    try:
        return _run(connection)
    except LinkLost:
        return 1


def _end_all() -> None:
    """End this process with all that it has started: nobody would hear what it comes to."""
    # The controller has begun a session for it; the group of anybody else's is not to be ended.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _run(connection: socket.socket) -> int:
    asked = receive(connection).head
    try:
        from pathlib import Path

        from disdel.flower.app import read_app

        app = read_app(
            Path(asked["app"]), asked["run_config"], asked["federation"], asked["num_supernodes"]
        )
    except UsageError as error:
        send(connection, {"op": "refused", "why": str(error)})
        return 2
    except ImportError as error:
        why = (
            f"this disdel knows flwr 1.42, and the flwr that is installed lacks what it asks for "
            f"({error}): pip install 'disdel[flower]'"
        )
        send(connection, {"op": "refused", "why": why})
        return 2
    import flwr

    nodes = [_id(f"{app.fab_id}:node:{partition}") for partition in range(app.nodes)]
    run_id = _id(asked["run"])
    facts = {
        "op": "app",
        "fab_id": app.fab_id,
        "fab_version": app.fab_version,
        "client_app": app.client_app,
        "run_config": dict(app.run_config),
        "flwr": flwr.__version__,
        "nodes": [str(node) for node in nodes],
        "contexts": [_context(run_id, node, place, app) for place, node in enumerate(nodes)],
    }
    send(connection, facts, app.files)
    # Nothing of the app has run so far; until the nodes are there, it may not be wanted at all.
    receive(connection)
    return _serve(connection, app, run_id, nodes)


def _id(name: str) -> int:
    """An id in Flower's range that is the same for the same name, so that runs can be repeated."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 1 or 2


def _context(run_id: int, node: int, partition: int, app: Any) -> str:
    """A node's first Context, as Flower's simulation makes it, serialised, in hexadecimal."""
    from flwr.app import Context, RecordDict
    from flwr.common.constant import NUM_PARTITIONS_KEY, PARTITION_ID_KEY
    from flwr.common.serde import context_to_proto

    context = Context(
        run_id=run_id,
        node_id=node,
        node_config={PARTITION_ID_KEY: partition, NUM_PARTITIONS_KEY: app.nodes},
        state=RecordDict(),
        run_config=dict(app.run_config),
    )
    packed: bytes = context_to_proto(context).SerializeToString(deterministic=True)
    return packed.hex()


def _serve(connection: socket.socket, app: Any, run_id: int, nodes: list[int]) -> int:
    from logging import ERROR

    from flwr.app import Context, RecordDict
    from flwr.common.constant import SUPERLINK_NODE_ID
    from flwr.server.run_serverapp import run
    from flwr.supercore import log
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity

    from disdel.flower.grid import FunctionGrid
    from disdel.flower.link import Link

    TaskIdentity.task_id, TaskIdentity.run_id = 1, run_id
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    of_run = Run.create_empty(run_id)
    of_run.fab_id, of_run.fab_version, of_run.fab_hash = app.fab_id, app.fab_version, app.fab_hash
    of_run.override_config = dict(app.overrides)
    of_run.primary_task_id = 1
    context = Context(
        run_id=run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(app.run_config),
    )
    link = Link(connection, when_lost=_end_all)
    link.begin()
    error: str | None = None
    try:
        run(
            grid=FunctionGrid(of_run, nodes, link),
            context=context,
            server_app_dir=str(app.folder),
            server_app_attr=app.server_app,
        )
    except SystemExit as end:
        if end.code not in (None, 0):
            error = f"it ended itself with {end.code!r}"
    except Exception as raised:
        log(ERROR, "ServerApp raised an exception", exc_info=raised)
        error = f"{type(raised).__name__}: {raised}"
    sys.stdout.flush()
    sys.stderr.flush()
    link.tell({"op": "ended", "error": error})
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
