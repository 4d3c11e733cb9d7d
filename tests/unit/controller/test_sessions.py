"""Which of a fabric's platforms a session opens, and what is made ready at each."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from disdel.controller.planning.checks import Check
from disdel.controller.planning.endpoint_deploys import deploy_at_endpoints
from disdel.controller.session import open_session
from disdel.platforms import registry
from disdel.platforms.base import Opened, Provider
from disdel.settings import Settings
from tests.support.fake_platform import CAPACITY, FakePlatform


class StubProvider(Provider):
    """Notes which of its platforms are open, by their architectures."""

    name = "stub"

    def __init__(self):
        self.open_now = []

    @asynccontextmanager
    async def open(self, settings, tell=None):
        del tell
        self.open_now.append(settings.arch)
        yield Opened(platform=FakePlatform({}), description="a stub")
        self.open_now.remove(settings.arch)

    async def offered(self, settings):
        del settings
        return CAPACITY


@pytest.fixture
def stub():
    provider = StubProvider()
    registry.register(provider)
    yield provider
    registry.forget(provider)


def test_a_part_of_a_fabric_is_opened_alone_and_the_fabric_whole(stub, tmp_path):
    file = tmp_path / "fabric.toml"
    file.write_text(
        '[endpoints.left]\nplatform = "stub"\narchitecture = "amd64"\n'
        '[endpoints.right]\nplatform = "stub"\narchitecture = "arm64"\n'
    )
    settings = Settings(fabric=file, store="inline:")

    async def opened(provider=None):
        async with open_session(settings, provider=provider) as session:
            assert session.platform_name == "fabric"
            return [one.name for one in session.endpoints.all], tuple(stub.open_now)

    parts = dict(registry.chosen(settings).parts(settings))
    assert asyncio.run(opened(parts["right"])) == (["right"], ("arm64",))
    assert asyncio.run(opened(parts["left"])) == (["left"], ("amd64",))
    assert asyncio.run(opened()) == (["left", "right"], ("amd64", "arm64"))
    assert stub.open_now == []


def test_what_one_endpoint_lacks_keeps_nothing_from_the_others(stub, tmp_path):
    file = tmp_path / "fabric.toml"
    file.write_text(
        '[endpoints.far]\nplatform = "openwhisk"\n[endpoints.near]\nplatform = "stub"\n'
    )
    far, near = asyncio.run(deploy_at_endpoints(Settings(fabric=file)))
    assert (far.name, far.ok) == ("far", False)
    assert "reached at an address with a key" in far.detail
    told = "it answers; nothing to deploy: each run brings its own actions"
    assert near == Check("near", True, told)
    assert stub.open_now == []
