"""What a user says of the Lambda that runs the actions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.setting import Setting

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", re.ASCII)
# Of a registry: Lambda takes images from that of its own region alone.
_ECR = re.compile(
    r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/", re.ASCII
)
_PATH = re.compile(r"[a-z0-9._/-]*", re.ASCII)
# Of /tmp, which lasts as long as its container.
FILES_MIN_MB = 512
FILES_MAX_MB = 10_240
_ENDPOINT = re.compile(r"https?://[^\s/?#@]+/?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaOptions:
    """Which account and region, and as whom its functions run.

    Credentials are found as all of AWS's tools find them.

    Args:
        role: the ARN of the role that functions run as; without one nothing is deployed.
        endpoint: of an emulator, which then is asked for everything, S3 included.
        image_prefix: before the names of runtime images; without one no action is of an image.
        bucket: takes the code of what is too large to be sent with the request.

    Raises:
        UsageError: the role is no ARN, the endpoint no URL of a server, or the prefix none of
            images that Lambda takes.
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
    image_prefix: Annotated[
        str | None,
        Setting(
            "Where the images of `disdel export --platform lambda` are in ECR, as "
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/disdel/.",
            metavar="TEXT",
            default="that of OpenWhisk's images, where it is in ECR",
        ),
    ] = None
    files_mb: Annotated[
        int | None,
        Setting(
            "Room for a container's files, /tmp.",
            low=FILES_MIN_MB,
            high=FILES_MAX_MB,
            default=f"{FILES_MIN_MB}",
        ),
    ] = None
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
        prefix = self.image_prefix
        if prefix is not None and (
            registry_region(prefix) is None or not _PATH.fullmatch(prefix.partition("/")[2])
        ):
            raise UsageError(
                "image_prefix must begin as the names of images in ECR, the only ones that Lambda "
                "takes: 123456789012.dkr.ecr.REGION.amazonaws.com/NAME/, not "
                f"{prefix[:80]!r}"
            )


def registry_region(image: str) -> str | None:
    """The region of the registry of an image, by its name or what that begins with.

    None where it is in none of AWS's.

    >>> registry_region("123456789012.dkr.ecr.eu-central-1.amazonaws.com/disdel/")
    'eu-central-1'
    """
    found = _ECR.match(image)
    return None if found is None else found["region"]
