"""How settings lead to AWS Lambda, or to what answers like it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from disdel.connections.patience import Tell, tell_nobody
from disdel.connections.trust import is_loopback
from disdel.errors import UsageError
from disdel.platforms.base import Opened, Platform, Provider, Reach, Traits
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.limits import capacity
from disdel.platforms.lambda_.options import LambdaOptions, registry_region
from disdel.platforms.options import own_options, refuse_limits
from disdel.platforms.prices import AWS_LAMBDA, AWS_LAMBDA_ARM, Price
from disdel.settings import Settings
from disdel.types import Capacity


class LambdaProvider(Provider):
    name = "lambda"
    traits = Traits(
        runs_images=False,
        images_by="--platform-option image_prefix=… (docs/platforms/lambda.md)",
    )
    prices = (AWS_LAMBDA, AWS_LAMBDA_ARM)
    options = LambdaOptions

    def of(self, settings: Settings) -> Provider:
        if _options(settings).image_prefix is None:
            return self
        bound = LambdaProvider()
        bound.traits = Traits()  # type: ignore[misc]
        return bound

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        platform = _client(settings, tell)
        try:
            yield Opened(
                platform=platform,
                description=f"AWS Lambda at {platform.place}",
                address=platform.place,
            )
        finally:
            await platform.close()

    async def offered(self, settings: Settings) -> Capacity:
        return capacity(_options(settings))

    async def deploy(self, settings: Settings, code: bytes) -> str:
        """See that runs can deploy there.

        Raises:
            UsageError: no role is named.
        """
        told = await super().deploy(settings, code)
        if _options(settings).role is None:
            raise UsageError("it answers, and no role is named: --platform-option role=ARN")
        return told

    def price(self, settings: Settings) -> Price:
        return AWS_LAMBDA_ARM if _options(settings).architecture == "arm64" else AWS_LAMBDA

    def address(self, settings: Settings) -> str | None:
        return _client(settings).place

    def at(self, settings: Settings, *, address: str | None, key: str | None) -> Settings:
        """`settings` that lead to a region, or to the emulator at a URL.

        Raises:
            UsageError: a key is said, which is found as all of AWS's tools find it.
        """
        if key is not None:
            raise UsageError(
                "platform lambda takes no key: AWS's own variables have it, or a profile (the "
                "option profile)"
            )
        if address is None:
            return settings
        option = f"endpoint={address}" if "://" in address else f"region={address}"
        return replace(settings, platform_options=(*settings.platform_options, option))

    async def reach(self, settings: Settings) -> Reach:
        endpoint = _options(settings).endpoint
        on_loopback = endpoint and is_loopback(urlsplit(endpoint).hostname or "")
        return "loopback" if on_loopback else "nowhere"

    def find(
        self,
        address: str,  # noqa: ARG002 - the settings name the account, which no address does
        settings: Settings,
        *,
        insecure: bool,  # noqa: ARG002 - AWS's certificates are always checked
    ) -> Platform | None:
        return _client(settings)


def _client(settings: Settings, tell: Tell = tell_nobody) -> Lambda:
    return Lambda(_options(settings), patience_s=settings.patience_network_s, tell=tell)


def _options(settings: Settings) -> LambdaOptions:
    refuse_limits(settings, "Lambda", "--memory-max and --timeout-max")
    options = own_options(LambdaOptions, settings)
    if options.image_prefix is None and registry_region(settings.image_prefix) is not None:
        return replace(options, image_prefix=settings.image_prefix)
    return options


PROVIDER = LambdaProvider()
