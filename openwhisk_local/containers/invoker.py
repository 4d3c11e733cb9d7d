"""Runs one activation in one container and decides what came of it."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from openwhisk_local.containers.container import (
    Container,
    ContainerSpec,
    Reply,
    common_environment,
)
from openwhisk_local.containers.growth import Growth
from openwhisk_local.containers.images import Face, Image, Language, image_of_key, stem_key
from openwhisk_local.containers.isolation import Enforcement
from openwhisk_local.containers.logs import Marks, log_line
from openwhisk_local.containers.namespaces import Isolation
from openwhisk_local.containers.pool import Again, Grow, Kept, Spent, Stem
from openwhisk_local.containers.templates import Templates
from openwhisk_local.entities.fields import Json
from openwhisk_local.invoking.activations import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    INTERNAL_ERROR,
    SUCCESS,
    Record,
    Response,
    StatusCode,
)
from openwhisk_local.invoking.invocation import Invocation, now_ms
from openwhisk_local.json_text import parse_json
from openwhisk_local.limits import MAX_PAYLOAD_BYTES
from openwhisk_local.replies import (
    LOGS_MAY_MISS,
    NO_RESOURCES,
    ApiError,
    image_not_pulled,
    init_failed,
    invalid_response,
    response_too_long,
    time_exceeded,
)
from openwhisk_local.units import mb_ceil

# What a warm container answers that is on its way out: the activation goes elsewhere.
SHUTTING_DOWN = 503

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Run:
    """The measured part of an activation; memory is that of its container."""

    response: Response
    start_ms: int
    duration_ms: int
    init_ms: int | None = None
    timed_out: bool = False
    peak_bytes: int | None = None


class Invoker:
    """Performs invocations for the pool; see `pool.Worker`.

    Args:
        platform_id: begins the id of every container.
        apihost: the platform's own URL, as actions see it.
        proxies: the command of the action proxy for each language.
        folder: for one folder a container.
    """

    def __init__(
        self,
        *,
        platform_id: str,
        apihost: str,
        proxies: Mapping[Language, tuple[str, ...]],
        folder: Path,
        enforcement: Enforcement,
        isolation: Isolation,
        growth: Growth,
        inherited: Mapping[str, str],
    ) -> None:
        self._platform_id = platform_id
        self._proxies = proxies
        self._folder = folder
        self._enforcement = enforcement
        self._isolation = isolation
        self._growth = growth
        self._env = {**inherited, "__OW_API_HOST": apihost}
        common = {**common_environment(isolation.home(folder)), **self._env}
        self._templates = Templates(platform_id, proxies["python"], common, isolation)
        self._numbers = itertools.count(1)
        self._busy: set[Container] = set()
        self._closed = False

    async def perform(
        self, work: Invocation, box: Container | None, grow: Grow
    ) -> Kept[Container] | Spent | Again:
        """Run an invocation in a container, and end it whatever happens.

        Args:
            work: the invocation.
            box: a warm container of its action or a pre-warmed one; None starts one.
            grow: asks for more memory while it runs.

        Returns:
            The container to be kept, that it is gone, or that the invocation is to be tried again.
        """
        container = box
        try:
            image = image_of_key(work.image_key)
            if image is None:
                self._end_now(work, DEVELOPER_ERROR, image_not_pulled(work.image))
                return Spent()
            if container is None:
                container = await self._start(work.memory_mb, work.image_key, image)
            self._busy.add(container)
            if self._closed:
                container.kill()
            if not container.initialized:
                container.adopt(work.logs_bytes)
            async with self._growth.watching(container, grow):
                run = await _run(work, container, image.face)
            if run is None:
                await container.destroy()
                return Again()
            return await self._settle(work, container, run)
        except Exception:
            # Whatever it is, the caller must be answered and the memory given back.
            if container is not None:
                await container.destroy()
            self._end_now(work, INTERNAL_ERROR, NO_RESOURCES)
            _LOG.exception("activation %s of %s", work.id, work.action.id.path)
            return Spent()
        finally:
            if container is not None:
                self._busy.discard(container)

    async def prepare(self, stem: Stem) -> Container:
        """A started container that waits for an action.

        Raises:
            LookupError: there is no such image.
        """
        image = image_of_key(stem.image_key)
        if image is None:
            raise LookupError(image_not_pulled(stem.image_key))
        container = await self._start(stem.memory_mb, stem.image_key, image)
        self._busy.add(container)
        try:
            if self._closed:
                container.kill()
            await container.warmed_up()
        except BaseException:
            await container.destroy()
            raise
        finally:
            self._busy.discard(container)
        return container

    def expect(self, image: str) -> None:
        """Import ahead what containers of this kind or image share, if there is such a one."""
        if (key := stem_key(image)) is not None:
            self._templates.expect(key)

    def refuse(self, work: Invocation) -> None:
        self._end_now(work, INTERNAL_ERROR, NO_RESOURCES)

    async def close(self) -> None:
        """Fork no more containers; those that live go on."""
        await self._templates.close()

    def kill_busy(self) -> None:
        """Kill the containers that are running an activation, and those about to."""
        self._closed = True
        for container in self._busy:
            container.kill()

    async def _start(self, memory_mb: int, image_key: str, image: Image) -> Container:
        template = await self._templates.of(image_key)
        container_id = f"{self._platform_id}-{next(self._numbers)}"
        spec = ContainerSpec(
            id=container_id,
            marks=Marks(secrets.token_hex(16)),
            memory_mb=memory_mb,
            env={**image.env, **self._env},
            proxy=self._proxies[image.language],
            folder=self._folder / container_id,
        )
        return await Container.start(spec, self._enforcement, self._isolation, template)

    async def _settle(
        self, work: Invocation, container: Container, run: _Run
    ) -> Kept[Container] | Spent:
        """Answer; then collect the log, keep the record, and keep or destroy the container.

        In this order, as OpenWhisk does: a request that follows at once may find the container
        still busy, and no record yet.
        """
        record = _record(work, run, container.memory_mb)
        _answer(work, record)
        lines: tuple[str, ...] = ()
        keeps = False
        try:
            keeps = run.response.keeps_container and not self._closed
            if not keeps:
                await container.destroy()
            log = await container.take_log()
            lines, keeps = log.lines, keeps and log.complete
            if run.response.code == DEVELOPER_ERROR:
                lines = (*lines, log_line("stderr", LOGS_MAY_MISS))
        finally:
            self._keep_record(work, replace(record, logs=lines))
        if run.response.keeps_container and not keeps:
            await container.destroy()
        return Kept(container) if keeps else Spent()

    def _end_now(self, work: Invocation, code: StatusCode, message: str) -> None:
        """End work that no container has done, or not to its end."""
        if work.ended.done():
            return
        record = _record(work, _Run(Response.failed(code, message), now_ms(), 0), None)
        _answer(work, record)
        self._keep_record(work, record)

    def _keep_record(self, work: Invocation, record: Record) -> None:
        try:
            work.keep(record)
        except Exception:
            # The activation ends even where no record of it can be kept.
            _LOG.exception("the record of activation %s is lost", work.id)
        work.ended.set_result(None)


def _answer(work: Invocation, record: Record) -> None:
    if not work.done.done():
        work.done.set_result(record)


def _record(work: Invocation, run: _Run, container_mb: int | None) -> Record:
    grown = container_mb is not None and container_mb > work.memory_mb
    optional: dict[str, Json] = {
        "initTime": run.init_ms,
        "binding": work.binding,
        # This platform's own.
        "peakMemory": None if run.peak_bytes is None else mb_ceil(run.peak_bytes),
        "grownMemory": container_mb if grown else None,
    }
    return Record(
        id=work.id,
        namespace=work.caller.namespace,
        name=work.action.name,
        version=work.action.version,
        start_ms=run.start_ms,
        end_ms=run.start_ms + run.duration_ms,
        duration_ms=run.duration_ms,
        response=run.response,
        annotations={
            **({} if work.cause is None else {"causedBy": "sequence"}),
            "path": work.action.id.path,
            "waitTime": max(0, run.start_ms - work.received_ms),
            "kind": work.action.exec.kind,
            "timeout": run.timed_out,
            "limits": work.action.limits.to_wire(),
            **{key: value for key, value in optional.items() if value is not None},
        },
        cause=work.cause,
    )


async def _run(work: Invocation, container: Container, face: Face) -> _Run | None:
    """Initialize the container if it is new, and run; None if a warm one is gone or about to go."""
    timeout_ms = work.action.limits.timeout_ms
    start_ms = now_ms()
    init_ms = None
    if not container.initialized:
        init = await container.post("/init", work.init_body(), timeout_ms)
        init_ms = init.elapsed_ms
        failure = _init_failure(init, timeout_ms, face)
        if failure:
            timed_out = init.outcome == "timeout"
            return _Run(failure, start_ms, init_ms, init_ms, timed_out)
        container.initialized = True
    reply = await container.post("/run", work.run_body(), timeout_ms)
    leaves = reply.outcome == "refused" or reply.status == SHUTTING_DOWN
    if leaves and init_ms is None:
        return None
    return _Run(
        _run_response(reply, timeout_ms, face),
        start_ms,
        (init_ms or 0) + reply.elapsed_ms,
        init_ms,
        reply.outcome == "timeout",
        reply.peak_bytes,
    )


def _init_failure(reply: Reply, timeout_ms: int, face: Face) -> Response | None:
    if reply.outcome == "answered" and reply.status == 200:
        return None
    if reply.outcome == "answered":
        text = reply.body.decode(errors="replace")
        message = _error_of(reply.body) or init_failed(text)
        return Response(DEVELOPER_ERROR, {"error": message}, _size(reply, text))
    if reply.outcome == "timeout":
        message = time_exceeded(timeout_ms, init=True)
    else:
        message = face.init_exhausted if reply.outcome == "out-of-memory" else face.init_lost
    return Response.failed(DEVELOPER_ERROR, message)


def _run_response(reply: Reply, timeout_ms: int, face: Face) -> Response:
    if reply.outcome == "timeout":
        return Response.failed(DEVELOPER_ERROR, time_exceeded(timeout_ms, init=False))
    if reply.outcome == "out-of-memory":
        return Response.failed(DEVELOPER_ERROR, face.run_exhausted)
    if reply.outcome != "answered":
        return Response.failed(DEVELOPER_ERROR, face.run_lost)
    text = reply.body.decode(errors="replace")
    size = _size(reply, text)
    if reply.size_bytes > MAX_PAYLOAD_BYTES:
        message = response_too_long(reply.size_bytes, MAX_PAYLOAD_BYTES, text)
        return Response(APPLICATION_ERROR, {"error": message}, size)
    if reply.status != 200:
        message = _error_of(reply.body) or invalid_response(text)
        return Response(DEVELOPER_ERROR, {"error": message}, size)
    result = _parse(reply.body)
    if not isinstance(result, dict | list):
        return Response(DEVELOPER_ERROR, {"error": invalid_response(text)}, size)
    if isinstance(result, dict) and "error" in result:
        # Of a result that is an error, nothing else is kept.
        return Response(APPLICATION_ERROR, {"error": result["error"]}, size)
    return Response(SUCCESS, result, size)


def _size(reply: Reply, text: str) -> int:
    """Of what the container answered, in characters; in bytes where there was too much to keep."""
    return len(text) if reply.size_bytes <= MAX_PAYLOAD_BYTES else reply.size_bytes


def _error_of(body: bytes) -> Json:
    parsed = _parse(body)
    return parsed.get("error") if isinstance(parsed, dict) else None


def _parse(body: bytes) -> Json:
    """The JSON value of `body`, None if it is not JSON, or deeper than upstream reads it."""
    try:
        return parse_json(body)
    except ApiError:
        return None
