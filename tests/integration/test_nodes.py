"""The `node` action in a real container, on a platform that is taken not to tell its CPUs."""

import asyncio
from dataclasses import replace

from disdel.controller.planning.nodes import with_nodes
from disdel.controller.session import open_session
from disdel.settings import Settings
from openwhisk_local.machine.cpus import usable_cpus


def test_a_container_tells_the_cpus_that_it_sees(monkeypatch, tmp_path, redis_url):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    notes = []

    async def ask():
        settings = Settings(redis=redis_url)
        async with open_session(settings) as session:
            silent = replace(session, capacity=replace(session.capacity, cpus=None))
            silent = replace(silent, lasting_address="http://silent")
            return await with_nodes(silent, settings, notes.append)

    assert asyncio.run(ask()).capacity.cpus == usable_cpus()
    assert not notes
