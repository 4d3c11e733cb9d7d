"""What is wrong on the command line is told in one sentence of our own, with the value."""

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.cli.commands import said_by_typer
from disdel.errors import UsageError
from disdel.host import environment
from disdel.settings import Settings, data_dir, run_dir

EMPTY = [
    ("platform", "up", "--state"),
    ("platform", "up", "--namespace"),
    ("train", "digits", "--run-dir"),
    ("train", "digits", "--data-dir"),
    ("train", "digits", "--redis"),
    ("train", "digits", "--apihost"),
    ("train", "digits", "--model"),
    ("train", "digits", "--resume"),
    ("train", "digits", "--json"),
    ("infer", "digits", "--input"),
    ("infer", "digits", "--predictions"),
    ("dataset", "import", "numbers", "--data-dir"),
    ("report", "run", "--output"),
    ("memory-agent", "--secret-file"),
]


def refusal(*arguments):
    error = CliRunner().invoke(app, list(arguments), standalone_mode=False).exception
    return str(error) if isinstance(error, UsageError) else said_by_typer(error)


@pytest.mark.parametrize("command", EMPTY, ids=" ".join)
@pytest.mark.parametrize("nothing", ["", " "])
def test_an_option_that_is_given_nothing_is_refused(command, nothing):
    assert refusal(*command, nothing) == (
        f"{command[-1]} is empty: give it a value, or leave it out"
    )


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        (("train",), "DATASET"),
        (("dataset", "import", "numbers"), "PATH"),
        (("runs", "show"), "RUN"),
        (("report",), "RUN|FILE"),
    ],
)
def test_so_is_an_argument(command, argument):
    assert refusal(*command, "").startswith(f"{argument} is empty")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train digits --batch abc", "--batch must be a whole number from 1 to 65536, not 'abc'"),
        (
            "train digits --seed 1_0",
            "--seed must be a whole number from 0 to 4294967295, not '1_0'",
        ),
        (
            "train digits --epochs 1.0",
            "--epochs must be a whole number from 1 to 100000, not '1.0'",
        ),
        (
            "train digits --learning-rate nan",
            "--learning-rate must be a number above 0 and at most 1000, not 'nan'",
        ),
        ("train digits --patience-network 1e9", "--patience-network must be a number of seconds"),
        ("plan digits --price-gb-s 1e300", "--price-gb-s must be a number from 0 to 1000000, not"),
        ("runs prune --keep -1", "--keep must be a whole number of at least 0, not '-1'"),
        ("platform up --port 65536", "--port must be a whole number from 0 to 65535, not '65536'"),
        ("platform up --user-memory 99999999", "--user-memory is 99999999 MB, and this machine"),
        ("platform up --grow-to 99999999", "--grow-to is 99999999 MB, and this machine has"),
        ("platform up --max-records 99999999", "--max-records is 99999999, and 256 MB have room"),
        ("platform up --max-records-mb 99999999", "--max-records-mb is 99999999 MB, and this"),
        ("platform up --max-entities-mb 99999999", "--max-entities-mb is 99999999 MB, and this"),
        ("memory-agent --ceiling 9223372036854775807 --pool 1", "--ceiling must be a whole number"),
        ("train digits --nope", "disdel: no such option: --nope"),
        ("infer", "disdel: missing argument 'DATASET'; `"),
        ("runs frob", "disdel: no such command 'frob'; `"),
        ("train digits --sync", "disdel: option '--sync' requires an argument; `"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(command, said):
    assert refusal(*command.split()).startswith(said)


@pytest.mark.parametrize("group", [[], ["runs"], ["dataset"], ["platform"]])
def test_the_help_of_a_group_says_what_each_command_does(group):
    said = CliRunner().invoke(app, [*group, "--help"]).stdout
    assert "..." not in said.replace("[ARGS]...", "")
    assert all(len(line) <= 80 for line in said.splitlines())


def test_arguments_are_named_as_they_are_in_the_docs():
    for command, usage in {
        "train": "train [OPTIONS] [DATASET]",
        "infer": "infer [OPTIONS] DATASET",
        "report": "report [OPTIONS] RUN|FILE",
    }.items():
        said = CliRunner().invoke(app, [command, "--help"]).stdout
        assert said.splitlines()[0].endswith(usage)
        assert f"\n  {usage.split()[-1].strip('[]')}  " in said


def test_help_is_shown_whatever_else_is_wrong():
    done = CliRunner().invoke(app, ["train", "--batch", "abc", "--help"])
    assert (done.exit_code, done.output.startswith("Usage: ")) == (0, True)


@pytest.mark.parametrize(
    ("variable", "read"),
    [
        ("DISDEL_RUN_DIR", run_dir),
        ("DISDEL_DATA_DIR", data_dir),
        ("DISDEL_STATE_DIR", environment.state_dir),
        ("DISDEL_APIHOST", Settings),
        ("DISDEL_REDIS", Settings),
        ("DISDEL_ARCH", Settings),
        ("DISDEL_IMAGE_PREFIX", Settings),
        ("DISDEL_PATIENCE_NETWORK", Settings),
        ("DISDEL_HELPER_MEMORY_MB", environment.helper_memory_mb),
    ],
)
def test_a_variable_that_is_set_to_nothing_is_refused(variable, read, monkeypatch):
    monkeypatch.setenv(variable, "")
    with pytest.raises(UsageError, match=f"{variable} is set to nothing"):
        read()


def test_a_program_gives_no_empty_path_either():
    with pytest.raises(UsageError, match="run_dir must be a path, not ''"):
        Settings(run_dir="")
