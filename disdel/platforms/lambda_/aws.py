"""AWS's clients, and what their errors mean.

They are boto3's, of one session that one thread makes; requests wait in threads of their own, for
which nobody has to wait. Nothing is tried again here: what is sent anew may be executed anew.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from disdel.connections.trust import certificates
from disdel.errors import ConnectionRefused, PlatformError, PlatformRejected, UsageError
from disdel.platforms.lambda_.limits import CONCURRENCY, INIT_S, TIMEOUT_MAX_S
from disdel.platforms.lambda_.options import LambdaOptions

T = TypeVar("T")

# No function answers later than that, and nobody in between may cut it off before.
READ_TIMEOUT_S = TIMEOUT_MAX_S + INIT_S + 50.0
_CONTROL_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 10.0
_NOT_FOUND = 404
_CONFLICT = 409
_TOO_MANY = 429
_SERVER_ERROR = 500
# What a key that is wrong, old or nobody's is answered by.
_KEY_REFUSED = frozenset(
    {
        *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"),
        *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature"),
        *("ExpiredToken", "ExpiredTokenException", "MissingAuthenticationToken"),
        *("MissingAuthenticationTokenException", "AuthFailure", "OptInRequired"),
    }
)
# Whoever answers at an endpoint believes any.
_EMULATORS_KEY = "emulator"


class Passing(Exception):
    """A failure that may pass.

    Attributes:
        why: what failed.
        arrived: whether the request may have been carried out.
        reached: whether somebody has answered at all.
    """

    def __init__(self, why: str, *, arrived: bool, reached: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.arrived = arrived
        self.reached = reached


class Throttled(Passing):
    """The request was refused, for there are too many."""

    def __init__(self, why: str) -> None:
        super().__init__(why, arrived=False)


class Aws:
    """The clients of one session; they are shared by all threads.

    Args:
        options: which account and region.

    Raises:
        UsageError: boto3 is not installed, or no region or no such profile is there.
    """

    def __init__(self, options: LambdaOptions) -> None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise UsageError(
                f"--platform lambda needs boto3 here ({error}): pip install 'disdel[lambda]'"
            ) from error
        keys = {}
        if options.endpoint is not None and options.profile is None:
            # Nobody's own key is shown to whoever answers there.
            keys = {"aws_access_key_id": _EMULATORS_KEY, "aws_secret_access_key": _EMULATORS_KEY}
        try:
            self._session = boto3.session.Session(
                profile_name=options.profile, region_name=options.region, **keys
            )
        except BotoCoreError as error:
            raise UsageError(f"AWS's settings lead nowhere: {error}") from error
        region = self._session.region_name or ("us-east-1" if options.endpoint else None)
        if region is None:
            raise UsageError(
                "no AWS region is named: --platform-option region=NAME, AWS_REGION, or a profile "
                "that has one"
            )
        self.region = region
        self.endpoint = options.endpoint
        self._connections = options.concurrency or CONCURRENCY

    @cached_property
    def control(self) -> Any:
        """Lambda's, for all but invocations."""
        return self._client("lambda", _CONTROL_TIMEOUT_S)

    @cached_property
    def runner(self) -> Any:
        """Lambda's, for invocations."""
        return self._client("lambda", READ_TIMEOUT_S)

    @cached_property
    def logs(self) -> Any:
        return self._client("logs", _CONTROL_TIMEOUT_S)

    @cached_property
    def s3(self) -> Any:
        return self._client("s3", _CONTROL_TIMEOUT_S, s3={"addressing_style": "path"})

    def _client(self, service: str, read_timeout_s: float, **own: Any) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=self._connections,
            tcp_keepalive=True,
            **own,
        )
        return self._session.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            verify=next(iter(certificates().values()), None),
            config=config,
        )

    @property
    def place(self) -> str:
        """What tells it from others."""
        return f"{self.endpoint or 'aws'}/{self.region}"

    def close(self) -> None:
        for name in ("control", "runner", "logs", "s3"):
            # Those that were made.
            if name in vars(self):
                getattr(self, name).close()


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns, in a thread of its own, which ends with the process or before."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, daemon=True, name="disdel-lambda").start()
    return await future


def meaning(error: Exception, where: str, *, met: bool) -> Exception:
    """What an error of boto3's is to be raised as.

    Args:
        error: the error.
        where: the server, for messages.
        met: whether it has answered before.

    Returns:
        `Passing`, or one of what `platforms.base` promises, or the error itself.
    """
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _of_answer(error, where, met=met)
    if isinstance(error, boto.SSLError):
        return ConnectionRefused(
            f"the certificate of {where} is not trusted ({error}): name its authority's file in "
            "SSL_CERT_FILE"
        )
    # A proxy that does not connect, or a name that is not known, among them.
    if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError):
        return Passing(str(error), arrived=False, reached=False)
    if isinstance(error, boto.ProxyConnectionError):
        return Passing(str(error), arrived=False, reached=False)
    if isinstance(error, boto.HTTPClientError | boto.ResponseStreamingError):
        return Passing(str(error), arrived=True)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return ConnectionRefused(
            f"there is no AWS key: {error}. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
            "profile of ~/.aws (--platform-option profile=NAME)"
        )
    if isinstance(error, boto.BotoCoreError):
        return PlatformError(f"{where}: {error}")
    return error


def _of_answer(error: Any, where: str, *, met: bool) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{where}: {status} {code}: {error.response.get('Error', {}).get('Message', '')}"
    if status == _TOO_MANY:
        reason = error.response.get("Reason", "")
        return Throttled(f"{code} {reason}".strip())
    if status >= _SERVER_ERROR or code in ("RequestTimeout", "RequestTimeoutException"):
        return Passing(f"{status} {code}", arrived=True)
    if status == _CONFLICT and ("progress" in said or "Pending" in said):
        return Passing(f"{status} {code}", arrived=False)
    if "cannot be assumed by Lambda" in said:
        # A role is known everywhere some seconds after it was made.
        return Passing(said, arrived=False)
    if code in _KEY_REFUSED and not met:
        return ConnectionRefused(f"AWS does not accept the key. {said}")
    return PlatformRejected(said, status=status)


def is_gone(error: PlatformRejected) -> bool:
    """Whether what was asked for is not there."""
    return error.status == _NOT_FOUND or "ResourceNotFound" in str(error)
