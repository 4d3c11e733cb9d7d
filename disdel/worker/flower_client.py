"""An activation of a Flower app's ClientApp: one message in, its reply and the node's state out.

Everything goes through Flower's own objects and their protobuf, and an error that the ClientApp
raises becomes the reply that Flower's simulation makes of it. Nothing is unpickled.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import math
import os
import secrets
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disdel.errors import UsageError
from disdel.protocol.flower import APP_FOLDER, FlowerFailure, FlowerReply, FlowerRequest
from disdel.protocol.messages import from_json
from disdel.worker.context import Context
from disdel.worker.tasks import Args, TaskReply, answered

if TYPE_CHECKING:
    from flwr.app import Message

_APP = Path(__file__).parents[2] / APP_FOLDER
# Of a reply's numbers, for the ledger.
_MOST_METRICS = 64
_MOST_SAID = 2000
# By which libraries are told of threads, before they are imported.
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class FlowerClientAction:
    """What the `flowerClient` action runs: messages to the ClientApp of a Flower app.

    One instance lives as long as its container and keeps the loaded app.
    """

    def __init__(self) -> None:
        self._client = FlowerClient()

    def __call__(self, args: Args) -> TaskReply:
        return answered(args, self._run)

    def _run(self, args: Args, context: Context) -> object:
        return self._client.answer(from_json(FlowerRequest, args), context)


class FlowerClient:
    """The ClientApp of this bundle; it is loaded once a container."""

    def __init__(self) -> None:
        self._container = secrets.token_hex(4)
        self._app: Any = None

    def answer(self, request: FlowerRequest, context: Context) -> FlowerReply:
        """Store the ClientApp's reply to a message, and what its node keeps.

        Raises:
            UsageError: this container has no Flower, or another version of it.
            StoreError: message or state cannot be read, or the reply not written.
        """
        version = _flwr_here(request)
        if request.threads is not None:
            for name in _THREADS:
                os.environ.setdefault(name, str(request.threads))
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        if request.message is None:
            failure = self._loaded(request)
            context.clock.ended("imported")
            return self._said(context, version, failure=failure)
        return self._answered(request, context, version)

    def _loaded(self, request: FlowerRequest) -> FlowerFailure | None:
        """Load the ClientApp; what it raised where that failed."""
        from flwr.clientapp.client_app import LoadClientAppError

        if self._app is not None:
            return None
        os.chdir(_APP)
        try:
            from flwr.clientapp.utils import get_load_client_app_fn

            load = get_load_client_app_fn(
                default_app_ref=request.client_app, app_path=str(_APP), multi_app=False
            )
            self._app = load("", "", "")
        except Exception as error:
            return _failure(error, LoadClientAppError)
        return None

    def _answered(self, request: FlowerRequest, context: Context, version: str) -> FlowerReply:
        from flwr.common.serde import (
            context_from_proto,
            context_to_proto,
            message_from_proto,
            message_to_proto,
        )
        from flwr.proto import message_pb2

        failure = self._loaded(request)
        context.clock.ended("imported")
        proto = message_pb2.Message.FromString(base64.b64decode(request.message or ""))
        proto.content.ParseFromString(bytes(context.store.get(request.content_key)))
        message = message_from_proto(proto)
        kept = bytes(context.store.get(request.context_key))
        state = context_from_proto(message_pb2.Context.FromString(kept))
        context.clock.ended("data")
        reply: Message
        if failure is None:
            given = dict(state.run_config)
            try:
                reply = _called(self._app, message, state)
                _check_unchanged(given, state)
                packed = message_to_proto(reply).SerializeToString(deterministic=True)
                kept = context_to_proto(state).SerializeToString(deterministic=True)
            # What ends a process, such as sys.exit, ends a container's message alone.
            except (Exception, SystemExit) as error:
                failure = _failure(error)
        if failure is not None:
            reply = _error_reply(failure, message)
            packed = message_to_proto(reply).SerializeToString(deterministic=True)
        metrics = {} if failure is not None else _metrics(reply)
        del message, state, proto
        context.clock.ended("computed")
        context.store.put(request.reply_key, packed)
        context.store.put(request.new_context_key, kept)
        context.clock.ended("stored")
        return self._said(context, version, failure=failure, reply=packed, metrics=metrics)

    def _said(
        self,
        context: Context,
        version: str,
        *,
        failure: FlowerFailure | None,
        reply: bytes = b"",
        metrics: dict[str, float] | None = None,
    ) -> FlowerReply:
        return FlowerReply(
            container=self._container,
            activation=os.environ.get("__OW_ACTIVATION_ID", ""),
            flwr=version,
            failure=failure,
            reply_bytes=len(reply),
            checksum=hashlib.sha256(reply).hexdigest() if reply else "",
            metrics=metrics or {},
            peak_mb=context.peak_mb(),
            working_set_mb=context.working_set_mb(),
            phases=context.clock.phases(),
        )


def _called(app: Any, message: Message, state: Any) -> Message:
    """The ClientApp's reply.

    Raises:
        ClientAppException: it raised an error, or gave no message.
    """
    from flwr.clientapp.client_app import ClientAppException

    try:
        reply: Message = app(message=message, context=state)
        _check_message(reply)
    except (Exception, SystemExit) as error:
        raise ClientAppException(str(error)) from error
    return reply


def _check_message(reply: object) -> None:
    from flwr.app import Message

    if not isinstance(reply, Message):
        raise TypeError(f"the ClientApp returned {type(reply).__name__}, and no Message")


def _check_unchanged(run_config: Mapping[str, object], state: Any) -> None:
    """Refuse what Flower refuses, in its words.

    Raises:
        ValueError: the ClientApp has changed its configuration.
    """
    if dict(state.run_config) != run_config:
        raise ValueError(
            "The `run_config` field of the `Context` object cannot be modified "
            f"(run_id: {state.run_id})."
        )


def _flwr_here(request: FlowerRequest) -> str:
    """The version of Flower in this container.

    Raises:
        UsageError: it has none, or one whose messages may differ.
    """
    try:
        version = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            "this container's Python has no flwr: name an image that has flwr "
            f"{request.flwr} and the app's packages with --image, or install them where actions "
            "run with this machine's packages"
        ) from None
    if version.split(".")[:2] != request.flwr.split(".")[:2]:
        raise UsageError(
            f"the container has flwr {version} and disdel runs with flwr {request.flwr}: install "
            f"flwr {request.flwr} in the container's image, or flwr {version} beside disdel"
        )
    return version


def _failure(error: BaseException, as_kind: type | None = None) -> FlowerFailure:
    """What an error was, for the terminal; its traceback goes to the activation's log."""
    from flwr.clientapp.client_app import ClientAppException, LoadClientAppError
    from flwr.common.constant import ErrorCode

    traceback.print_exception(error)
    sys.stderr.flush()
    shown = error
    code = ErrorCode.UNKNOWN
    if isinstance(error, LoadClientAppError) or as_kind is LoadClientAppError:
        code = ErrorCode.LOAD_CLIENT_APP_EXCEPTION
    elif isinstance(error, ClientAppException):
        code, shown = ErrorCode.CLIENT_APP_RAISED_EXCEPTION, error.__cause__ or error
    reason = f"{type(error)}:<'{error}'>"
    last = " ".join(traceback.format_exception_only(shown)[-1].split())
    said = f"{last[:_MOST_SAID]}{_place(shown)}"
    return FlowerFailure(code=int(code), said=said, reason=reason[:_MOST_SAID])


def _place(error: BaseException) -> str:
    """Where in the app's own files an error came from, as ` (client.py:12, in train)`."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_APP)
    ]
    if not own:
        return ""
    name = Path(own[-1].filename).relative_to(_APP)
    return f" ({name}:{own[-1].lineno}, in {own[-1].name})"


def _error_reply(failure: FlowerFailure, message: Message) -> Message:
    from flwr.app import Message
    from flwr.app.error import Error

    return Message(Error(code=failure.code, reason=failure.reason), reply_to=message)


def _metrics(reply: Message) -> dict[str, float]:
    """The reply's numbers, by their names; by record, too, where two have the same name."""
    if not reply.has_content():
        return {}
    records = dict(reply.content.metric_records.items())
    # Where clients of Flower's older API leave theirs.
    records |= {
        name: record
        for name, record in reply.content.config_records.items()
        if name.endswith("res.metrics")
    }
    numbers = [
        (place, name, float(value))
        for place, record in records.items()
        for name, value in record.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]
    names = [name for _, name, _ in numbers]
    return {
        name if names.count(name) == 1 else f"{place}.{name}": value
        for place, name, value in numbers[:_MOST_METRICS]
    }
