"""Embedded platforms for tests, held to leave nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from tests.support.openwhisk import OpenWhisk


@contextlib.contextmanager
def embedded(folder: Path, **options: Any) -> Iterator[OpenWhisk]:
    with start_embedded(EmbeddedOptions(state_dir=folder, **options)) as platform:
        with OpenWhisk(platform.access, embedded=True) as user:
            yield user
            user.clean_up()
        platform.close()
        assert not any((folder / "platforms").iterdir()), "the platform has left something behind"
