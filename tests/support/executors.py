"""Executors of several kinds, each made by a function of this module; all with two workers."""

import multiprocessing
import os
import sys
import tempfile
import uuid
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

WORKERS = 2


def threads():
    return ThreadPoolExecutor(WORKERS)


def processes():
    # The tests' own process has threads.
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


def loky():
    from loky import ProcessPoolExecutor as Loky

    return Loky(WORKERS)


def dask():
    from distributed import Client

    return Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)


def parsl():
    import parsl as library
    from parsl.concurrent import ParslPoolExecutor

    workers = library.HighThroughputExecutor(
        label="workers",
        max_workers_per_node=WORKERS,
        address="127.0.0.1",
        encrypted=False,
        provider=library.providers.LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = library.Config(executors=[workers], run_dir=_folder(), usage_tracking=0)
    return ParslPoolExecutor(config)


def globus():
    return GlobusEngine()


class GlobusEngine:
    """The engine of a Globus Compute endpoint, without the service in front of it.

    What the service would bring is packed and unpacked as its SDK does.
    """

    def __init__(self):
        from globus_compute_endpoint.engines import GlobusComputeEngine
        from globus_compute_sdk.serialize import ComputeSerializer
        from parsl.providers import LocalProvider

        self._max_workers = WORKERS
        self._serializer = ComputeSerializer()
        self._engine = GlobusComputeEngine(
            label="workers",
            max_workers_per_node=WORKERS,
            address="127.0.0.1",
            encrypted=False,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        self._engine.start(endpoint_id=uuid.uuid4(), run_dir=_folder())

    def submit(self, function, *args):
        from globus_compute_common import messagepack
        from globus_compute_endpoint.engines.base import GCFuture

        task = uuid.uuid4()
        body = [self._serializer.serialize(part) for part in (function, args, {})]
        packed = messagepack.pack(
            messagepack.message_types.Task(
                task_id=task,
                container_id=None,
                task_buffer=self._serializer.pack_buffers(body),
            )
        )
        inner, answered = GCFuture(task), Future()

        def tell(done):
            if (failed := done.exception()) is not None:
                answered.set_exception(failed)
                return
            result = messagepack.unpack(done.result())
            if result.error_details is not None:
                answered.set_exception(RuntimeError(result.data))
            else:
                answered.set_result(self._serializer.deserialize(result.data))

        inner.add_done_callback(tell)
        self._engine.submit(inner, packed, {})
        return answered

    def shutdown(self):
        self._engine.shutdown()


def _folder():
    """A new folder for the files of an executor whose programs are beside this Python."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return tempfile.mkdtemp(prefix="executors-")
