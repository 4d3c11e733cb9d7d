"""What a file's text says of a function, without running it."""

import pytest

from disdel.errors import UsageError
from disdel.user_code.collecting import collect
from disdel.user_code.reading import parameters_of

RUNS = "raise SystemExit('it was run')\n"


def parameters(tmp_path, text, function="load"):
    file = tmp_path / "own.py"
    file.write_text(text + RUNS)
    return parameters_of(collect(f"{file}:{function}"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def load(client, split): pass\n", {"client", "split"}),
        ("def load(*, client=0): pass\n", {"client"}),
        ("def load(): pass\n", set()),
        # Values are given by name, and only those that are named.
        ("def load(*a, **k): pass\n", set()),
        ("def load(client, /): pass\n", set()),
    ],
)
def test_a_function_that_is_written_out_has_the_parameters_that_it_can_be_given(
    tmp_path, text, names
):
    assert parameters(tmp_path, text) == names


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import load\n",
        "from elsewhere import *\n",
        "import load\n",
        "load = lambda: None\n",
        "import functools\n@functools.cache\ndef load(): pass\n",
        "def load(): pass\nload = 1\n",
        "if 1:\n    def load(): pass\n",
        "for load in (): pass\n",
        "(load, other) = 1, 2\n",
        "globals()['load'] = 1\n",
        "def __getattr__(name): pass\n",
        "class load: pass\n",
    ],
)
def test_of_a_function_that_comes_from_elsewhere_nothing_is_said(tmp_path, text):
    assert parameters(tmp_path, text) is None


def test_a_function_that_is_not_there_is_missed_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match=r"there is no load in it; it has other, third"):
        parameters(tmp_path, "def other(client): pass\ndef third(): pass\n")


def test_a_module_is_read_as_a_file_is(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "read_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "own.py").write_text("def load(client): pass\n" + RUNS)
    assert parameters_of(collect("read_package.own:load")) == {"client"}
