"""Requests to servers of this machine: through no proxy, and with the patience of tests."""

from functools import partial

import httpx

from tests.support.waiting import DEADLINE_S

_HERE = {"trust_env": False, "timeout": DEADLINE_S}
get = partial(httpx.get, **_HERE)
post = partial(httpx.post, **_HERE)
options = partial(httpx.options, **_HERE)
