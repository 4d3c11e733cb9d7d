"""Keras models of the user's own that cannot be compiled, and what they are refused with."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.own_compiled import REFUSED

pytestmark = pytest.mark.framework


@pytest.fixture(scope="module")
def answers():
    """What the compiler's process says to each of `tests.support.own_compiled`."""
    pytest.importorskip("jax")
    environ = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.own_compiled"],
        env=environ,
        check=True,
        capture_output=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_named_with_what_to_do(answers, case):
    _, parts = REFUSED[case]
    said = answers[case]
    assert said is not None
    assert [part for part in parts if part not in said] == [], said
