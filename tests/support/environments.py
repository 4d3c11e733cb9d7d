"""Environments in which programs of other platforms run (`scripts/platform-environments`)."""

import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "build" / "environments"


def is_in(name):
    """Whether this Python is that of an environment."""
    return Path(sys.prefix) == _FOLDER / name


def python_of(name):
    """The Python of an environment; the test skips where there is none."""
    if not (_FOLDER / name / "installed").exists():
        pytest.skip(f"scripts/platform-environments {name} has not made its environment")
    return _FOLDER / name / "bin" / "python"


def program_of(name, path):
    """A program that a package of an environment carries; the test skips where there is none."""
    [library] = (python_of(name).parents[1] / "lib").glob("python*/site-packages")
    program = library / path
    if not program.exists():
        pytest.skip(f"{path} is not in the environment {name}")
    # Wheels do not always say what is to be executed.
    program.chmod(0o755)
    return program
