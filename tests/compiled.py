"""A small network, compiled once for every test that trains one."""

import pytest

from disdel.compiler import CompileJob, compile_program
from disdel.types import ModelSpec

SPEC = ModelSpec(name="cnn", input_shape=(8, 8, 1), classes=4)
BATCH = 16
JOB = CompileJob(
    model=SPEC, input_dtype="uint8", batch_size=BATCH, optimizer="adam", targets=("host",)
)


@pytest.fixture(scope="session")
def compiled_state_dir(tmp_path_factory):
    """A state directory that keeps what was compiled and packed."""
    pytest.importorskip("iree.compiler")
    return tmp_path_factory.mktemp("compiled-state")


@pytest.fixture
def program(compiled_state_dir, monkeypatch):
    """The folder of `JOB`."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    return compile_program(JOB)
