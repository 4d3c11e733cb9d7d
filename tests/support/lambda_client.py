"""A client of Lambda's, and what it is given to deploy."""

import asyncio
import io
import zipfile

from disdel.platforms.base import ActionSpec
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.options import LambdaOptions
from tests.support.stub_lambda import ROLE

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def zipped(*, padding=b"", stored=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", stored) as archive:
        archive.writestr("__main__.py", "def main(args): return args")
        archive.writestr("padding", padding)
    return buffer.getvalue()


def spec(**changes):
    fields = {"name": "act", "kind": "python:3.11", "memory_mb": 128, "timeout_s": 1.0}
    return ActionSpec(**{"code": zipped(), **fields, **changes})


def with_client(stub, use, *, patience_s=5.0, options=None, tell=None):
    async def body():
        given = {"endpoint": stub.url, "role": ROLE, **(options or {})}
        told = {} if tell is None else {"tell": tell}
        platform = Lambda(LambdaOptions(**given), patience_s=patience_s, **told)
        try:
            await platform.create_package("p", {})
            await platform.create_action("p", spec())
            return await use(platform)
        finally:
            await platform.close()

    return asyncio.run(body())
