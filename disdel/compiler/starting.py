"""The compiler's process: started for a network, or before it is known which one that is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from disdel.host.environment import for_children
from disdel.host.helper import Helper

_begun: ContextVar[list[Helper] | None] = ContextVar("begun", default=None)


def start_compiler(code: Path | None = None) -> Helper:
    """A compiler that waits for what it is to compile: a network of `code`, or a built-in one."""
    return Helper(
        [sys.executable, "-P", "-m", "disdel.compiler", *(() if code is None else (str(code),))],
        # A relative path in the user's code is of a file beside it.
        cwd=code,
        scratch=code,
        environ={**for_children(), "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )


@contextmanager
def compiler_begun() -> Iterator[None]:
    """Within, a compiler of built-in networks is started, for the first that is compiled."""
    with start_compiler() as compiler:
        token = _begun.set([compiler])
        try:
            yield
        finally:
            _begun.reset(token)


def begun_compiler() -> Helper | None:
    """The one that was started ahead, for one caller."""
    begun = _begun.get()
    return begun.pop() if begun else None
