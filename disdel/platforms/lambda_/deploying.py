"""Functions of actions: made, brought up to date, and removed with all that they leave."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from disdel.errors import PlatformRejected, UsageError
from disdel.platforms.base import ActionSpec
from disdel.platforms.checking import check_limits
from disdel.platforms.lambda_.aws import Aws, is_gone
from disdel.platforms.lambda_.images import image_uri, own_code
from disdel.platforms.lambda_.limits import RUNTIMES, ZIP_BYTES, capacity
from disdel.platforms.lambda_.logs import log_group
from disdel.platforms.lambda_.options import LambdaOptions, registry_region
from disdel.platforms.lambda_.packing import HANDLER, packed
from disdel.types.units import MIB

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_POLL_S = 0.25
_READY_S = 300.0
_EXISTS = 409
_BAD_REQUEST = 400


class Ask(Protocol):
    """The answer of AWS to what may be asked again."""

    async def __call__(self, ask: Callable[[], T], /) -> T: ...


class Deploying:
    """The functions of an account's packages.

    Args:
        aws: the clients.
        options: how functions are deployed.
        ask: calls one of the clients.
    """

    def __init__(self, aws: Aws, options: LambdaOptions, ask: Ask) -> None:
        self._aws = aws
        self._options = options
        self._ask = ask

    def function(self, package: str, action: str) -> str:
        """The name of an action's function."""
        name = f"{package}-{action}"
        if _NAME.fullmatch(name):
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:10]
        return f"{re.sub('[^A-Za-z0-9_-]', '_', name)[:52]}-{digest}"

    async def create(self, package: str, action: ActionSpec) -> Mapping[str, str]:
        """Make an action's function, or bring it up to date, and wait until it can be called.

        Returns:
            What each event of it must have beside arguments.

        Raises:
            UsageError: there is no role for it.
            PlatformRejected: it is beyond a limit, or refused.
        """
        settings = self._settings(package, action)
        name = settings["FunctionName"]
        event: Mapping[str, str] = {}
        if action.kind is None:
            own = own_code(action, self._options.architecture)
            event, code = own.event, {"ImageUri": self._image(action)}
            settings["Environment"]["Variables"] |= own.variables
        else:
            settings |= {"Handler": HANDLER, "Runtime": f"python{_version_of(action.kind, name)}"}
            code = await self._uploaded(package, action, name)
        make = partial(
            self._aws.control.create_function,
            Code=code,
            PackageType="Image" if action.kind is None else "Zip",
            Architectures=[self._options.architecture],
            **settings,
        )
        try:
            await self._ask(make)
        except PlatformRejected as rejected:
            if rejected.status != _EXISTS:
                raise
            await self._replace(name, code, settings)
        await self._ready(name)
        return event

    def _image(self, action: ActionSpec) -> str:
        """Where the image of an action is.

        Raises:
            PlatformRejected: nobody says, or Lambda does not take it from there.
        """
        prefix, region = self._options.image_prefix, self._aws.region
        if prefix is None:
            raise PlatformRejected(
                f"{action.name} is for the image {action.image}: say where Lambda has it with "
                "--platform-option image_prefix=… (docs/platforms/lambda.md), or take --runtime "
                "compiled, which needs none",
                status=_BAD_REQUEST,
            )
        uri = image_uri(prefix, action.image or "")
        if (its := registry_region(uri)) != region:
            raise PlatformRejected(
                f"the image {uri} is in the registry of {its}, and functions of {region} take "
                "images of their own region alone: push it there, or name the other region",
                status=_BAD_REQUEST,
            )
        return uri

    def _settings(self, package: str, action: ActionSpec) -> dict[str, Any]:
        """The settings of a function, of whatever its code is."""
        check_limits(action, capacity(self._options))
        if self._options.role is None:
            raise UsageError(
                "Lambda's functions run as a role, and none is named: --platform-option role=ARN "
                "or DISDEL_LAMBDA_ROLE (it needs AWSLambdaBasicExecutionRole)"
            )
        settings = {
            "FunctionName": self.function(package, action.name),
            "Description": _described(package, action.name),
            "Role": self._options.role,
            "MemorySize": action.memory_mb,
            # Whole seconds, and no less than is asked for.
            "Timeout": max(1, -int(-action.timeout_s // 1)),
            "Environment": {
                "Variables": {
                    "HOME": "/tmp",
                    "OPENBLAS_NUM_THREADS": "1",
                    # By which an action sees how much it has left.
                    "DISDEL_MEMORY_LIMIT_BYTES": str(action.memory_mb * MIB),
                }
            },
        }
        if self._options.files_mb is not None:
            settings["EphemeralStorage"] = {"Size": self._options.files_mb}
        return settings

    async def _uploaded(self, package: str, action: ActionSpec, name: str) -> dict[str, Any]:
        """A zip as a request can have it: by the bucket, where it is too large for one."""
        data = packed(
            action.name,
            action.code,
            self._options.architecture,
            has_bucket=self._options.bucket is not None,
        )
        if len(data) <= ZIP_BYTES:
            return {"ZipFile": data}
        key = f"{_folder(package)}{name}.zip"
        put = partial(self._aws.s3.put_object, Bucket=self._options.bucket, Key=key, Body=data)
        await self._ask(put)
        return {"S3Bucket": self._options.bucket, "S3Key": key}

    async def _replace(
        self, name: str, code: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        control = self._aws.control
        await self._ready(name)
        architectures = [self._options.architecture]
        await self._ask(
            partial(
                control.update_function_code,
                FunctionName=name,
                Architectures=architectures,
                **code,
            )
        )
        await self._ready(name)
        await self._ask(partial(control.update_function_configuration, **settings))

    async def _ready(self, name: str) -> None:
        """Return when a function is as it was asked for.

        Raises:
            PlatformRejected: that failed, or takes too long.
        """
        until_s = time.monotonic() + _READY_S
        ask = partial(self._aws.control.get_function_configuration, FunctionName=name)
        while True:
            state = await self._ask(ask)
            made = state.get("State", "Active")
            updated = state.get("LastUpdateStatus", "Successful")
            if made in ("Active", "Inactive") and updated == "Successful":
                return
            why = state.get("StateReason") or state.get("LastUpdateStatusReason") or "no reason"
            if "Failed" in (made, updated):
                raise PlatformRejected(f"Lambda cannot make {name}: {why}", status=_BAD_REQUEST)
            if time.monotonic() >= until_s:
                raise PlatformRejected(
                    f"{name} is {made.lower()} after {_READY_S:.0f} s: {why}", status=_BAD_REQUEST
                )
            await asyncio.sleep(_POLL_S)

    async def remove(self, package: str) -> None:
        """Remove the functions of a package, their logs and their code in the bucket."""
        for name in await self._ask(partial(self._functions, package)):
            await self._gone(partial(self._aws.control.delete_function, FunctionName=name))
            await self._gone(partial(self._aws.logs.delete_log_group, logGroupName=log_group(name)))
        if self._options.bucket is not None:
            await self._gone(partial(self._empty, package))

    def _functions(self, package: str) -> list[str]:
        """Those of a package: names may begin alike, and what describes them tells."""
        pages = self._aws.control.get_paginator("list_functions").paginate()
        prefix = _described(package, "")
        return [
            function["FunctionName"]
            for page in pages
            for function in page["Functions"]
            if function.get("Description", "").startswith(prefix)
        ]

    def _empty(self, package: str) -> None:
        bucket = self._options.bucket
        pages = self._aws.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=_folder(package)
        )
        for key in [entry["Key"] for page in pages for entry in page.get("Contents", ())]:
            self._aws.s3.delete_object(Bucket=bucket, Key=key)

    async def _gone(self, remove: Callable[[], Any]) -> None:
        """Remove what may not be there."""
        try:
            await self._ask(remove)
        except PlatformRejected as rejected:
            if not is_gone(rejected):
                raise


def _described(package: str, action: str) -> str:
    return f"disdel {package}/{action}"


def _folder(package: str) -> str:
    return f"disdel/{package}/"


def _version_of(kind: str, name: str) -> str:
    """The version of Python that a kind names.

    Raises:
        PlatformRejected: Lambda has none such.
    """
    version = kind.removeprefix("python:")
    if version not in RUNTIMES:
        raise PlatformRejected(
            f"{name} is for {kind}, and Lambda has Python {', '.join(RUNTIMES)}",
            status=_BAD_REQUEST,
        )
    return version
