"""What a user says of the Lambda that runs the actions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", re.ASCII)
_ENDPOINT = re.compile(r"https?://[^\s/?#@]+/?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaOptions:
    """Which account and region, and as whom its functions run.

    Credentials are found as all of AWS's tools find them.

    Args:
        role: the ARN of the role that functions run as; without one nothing is deployed.
        endpoint: of an emulator, which then is asked for everything, S3 included.
        bucket: takes the code of what is too large to be sent with the request.

    Raises:
        UsageError: the role is no ARN, or the endpoint no URL of a server.
    """

    VARIABLES: ClassVar[str] = "DISDEL_LAMBDA_"

    role: Annotated[
        str | None,
        Setting("The role (ARN) that functions run as.", metavar="ARN", default="none"),
    ] = None
    region: Annotated[
        str | None,
        Setting(
            "AWS's name of the region.",
            metavar="NAME",
            variables=("AWS_REGION", "AWS_DEFAULT_REGION"),
            default="that of the AWS profile",
        ),
    ] = None
    profile: Annotated[
        str | None,
        Setting(
            "Profile of ~/.aws/config.",
            metavar="NAME",
            variables=("AWS_PROFILE",),
            default="AWS's default",
        ),
    ] = None
    architecture: Annotated[
        Literal["x86_64", "arm64"],
        Setting("CPUs of the functions; compiled networks need `--arch` for arm64 as well."),
    ] = "x86_64"
    bucket: Annotated[
        str | None,
        Setting("S3 bucket for code of more than 50 MB.", metavar="NAME", default="none"),
    ] = None
    concurrency: Annotated[
        int | None,
        Setting("Invocations at the same time.", low=1, default="the account's limit"),
    ] = None
    endpoint: Annotated[
        str | None,
        Setting("URL of an emulator of Lambda.", metavar="URL", default="AWS's own"),
    ] = None

    def __post_init__(self) -> None:
        take_fields(self)
        if self.role is not None and _ROLE.fullmatch(self.role) is None:
            raise UsageError(
                f"role must be the ARN of a role, as arn:aws:iam::123456789012:role/NAME, not "
                f"{self.role[:80]!r}"
            )
        if self.endpoint is not None and _ENDPOINT.fullmatch(self.endpoint) is None:
            raise UsageError(
                f"endpoint must be the URL of a server, as http://127.0.0.1:4566, not "
                f"{self.endpoint[:80]!r}"
            )
