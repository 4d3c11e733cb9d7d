"""An option is one field: it is found everywhere, and nothing else has to be written."""

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from typer.testing import CliRunner

import disdel
from disdel.cli.app import app
from disdel.cli.commands import Commands
from disdel.cli.declared import Given
from disdel.cli.variables import misnamed
from disdel.errors import UsageError
from disdel.settings import declared, entries, resolve
from disdel.settings.signatures import split, takes_settings
from disdel.settings.tables import keywords, table
from disdel.types import InferJob, Limits, TrainJob
from disdel.types.checks import take_fields
from disdel.types.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    colour: Annotated[Literal["red", "blue"], Setting("What it is painted in.")] = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wider:
    """A class of settings that has one more: `dropout_s`."""

    VARIABLES: ClassVar[str] = "DISDEL_TEST_"

    dropout_s: Annotated[
        float | None,
        Setting("When what is slow is dropped.", words={"never": None}, above=0, high=60),
    ] = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        take_fields(self)


def run(*arguments):
    """What a command makes of a command line: the instance it gets, or what is told."""
    cli, got = Commands(), []

    def command(wider: Wider):
        """Do it."""
        got.append(wider)

    cli.command("do")(command)
    cli.command("other")(lambda: None)
    done = CliRunner().invoke(cli, ["do", *arguments], standalone_mode=False)
    return got[0] if got else str(done.exception or done.stdout)


def test_it_is_a_flag():
    assert run("--dropout", "2.5", "--colour", "blue") == Wider(
        dropout_s=2.5, inner=Inner(colour="blue")
    )
    assert run("--dropout", "never") == Wider()


def test_it_is_an_environment_variable_after_the_flag(monkeypatch):
    monkeypatch.setenv("DISDEL_TEST_DROPOUT", "7")
    monkeypatch.setenv("DISDEL_TEST_COLOUR", "blue")
    assert run() == Wider(dropout_s=7.0, inner=Inner(colour="blue"))
    assert run("--dropout", "2") == Wider(dropout_s=2.0, inner=Inner(colour="blue"))


def test_it_is_a_keyword_of_the_api():
    @takes_settings(Wider)
    def work(**options):
        """Work.

        Args:
            options: as below.
        """
        [given] = split(options, Wider)
        return resolve(Wider, given)

    assert work(dropout=3, colour="blue") == Wider(dropout_s=3.0, inner=Inner(colour="blue"))
    assert str(inspect.signature(work)) == (
        "(*, dropout: float | None = None, colour: Literal['red', 'blue'] = 'red')"
    )
    assert "dropout: When what is slow is dropped. Above 0 and at most 60 s." in work.__doc__
    with pytest.raises(TypeError, match="no option 'colr'; did you mean 'colour'"):
        work(colr="red")
    with pytest.raises(UsageError, match=r"^dropout must be a number or None, not '3'"):
        work(dropout="3")
    assert '    dropout: Literal["never"] | float | None\n' in keywords("Options", [Wider])


def test_it_is_a_line_of_help():
    shown = run("--help")
    assert "--dropout never|S" in shown
    assert "When what is slow is dropped. [default: never]" in " ".join(shown.split())


def test_it_is_a_row_of_the_docs():
    assert table(Wider).splitlines()[2:] == [
        "| `--dropout never\\|S` | `DISDEL_TEST_DROPOUT` | `never` | When what is slow is dropped. "
        "Above 0 and at most 60 s. |",
        "| `--colour red\\|blue` | `DISDEL_TEST_COLOUR` | `red` | What it is painted in. |",
    ]


def test_it_is_an_entry_of_the_report():
    assert entries(Wider(dropout_s=5)) == {"dropout_s": 5.0, "colour": "red"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0", "must be never or a number of seconds above 0 and at most 60, not '0'"),
        ("soon", "must be never or a number of seconds above 0 and at most 60, not 'soon'"),
        ("nan", "must be never or a number of seconds above 0 and at most 60, not 'nan'"),
    ],
)
def test_what_is_wrong_is_told_by_the_name_under_which_it_was_said(text, told, monkeypatch):
    assert run("--dropout", text) == f"--dropout {told}"
    monkeypatch.setenv("DISDEL_TEST_DROPOUT", text)
    assert run() == f"DISDEL_TEST_DROPOUT {told}"


@pytest.mark.parametrize("cls", [TrainJob, InferJob, disdel.Settings], ids=lambda cls: cls.__name__)
def test_every_option_of_the_library_is_everywhere(cls):
    command = "infer" if cls is InferJob else "train"
    shown = CliRunner().invoke(app, [command, "--help"]).stdout
    front = disdel.infer if cls is InferJob else disdel.train
    page = Path("docs/commands.md").read_text()
    lacking = {"gpu_memory", "estimator", "miss_rate", "arch"} if cls is InferJob else set()
    for option in declared(cls):
        assert option.name in inspect.signature(front).parameters
        if not option.setting.argument:
            assert f"`{option.flag}" in page
            if option.name not in lacking:
                assert option.flag in shown


def test_no_two_options_of_a_command_have_one_name():
    for job in (TrainJob, InferJob):
        names = [option.name for option in (*declared(job), *declared(disdel.Settings))]
        assert len(names) == len(set(names))


def test_what_follows_from_the_fields_is_written():
    done = subprocess.run(
        [sys.executable, "scripts/generate", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run scripts/generate"


def test_a_command_that_adds_to_what_was_said_knows_who_said_it(monkeypatch):
    monkeypatch.setenv("DISDEL_TEST_COLOUR", "blue")
    cli, got = Commands(), []
    cli.command("do")(lambda: None)

    def command(asked: Given[Wider]):
        got.append(asked)

    cli.command("add")(command)
    CliRunner().invoke(cli, ["add", "--dropout", "1"], standalone_mode=False)
    assert got[0].sources == {"dropout": "--dropout", "colour": "DISDEL_TEST_COLOUR"}
    assert got[0].made(dropout=9) == Wider(dropout_s=1.0, inner=Inner(colour="blue"))


def test_a_self_resolving_class_takes_what_is_given_before_the_environment(monkeypatch):
    monkeypatch.setenv("DISDEL_MEMORY_MAX", "77")
    monkeypatch.setenv("DISDEL_KEEP", "1")
    monkeypatch.setenv("DISDEL_ACTION_ENV", "A=1 'B=two words'")
    settings = disdel.Settings()
    assert (settings.limits.memory_max_mb, settings.keep) == (77, True)
    assert settings.action_env == ("A=1", "B=two words")
    assert disdel.Settings(keep=False).keep is False
    assert resolve(disdel.Settings, {"memory_max": 5}).limits.memory_max_mb == 5


def test_options_beside_settings_change_only_what_they_name(monkeypatch):
    asked = []
    monkeypatch.setattr("disdel.api.run_train", lambda job, settings, *_: asked.append(settings))
    settings = disdel.Settings(limits=Limits(memory_max_mb=512), keep=True, patience_network_s=5)
    with pytest.raises(TypeError):  # It returns nothing.
        disdel.train(
            "digits", settings=settings, timeout_max=9, limits="stock", patience_network=None
        )
    [used] = asked
    assert used.limits == Limits(memory_max_mb=512, timeout_max_s=9)
    assert (used.platform_limits, used.keep, used.patience_network_s) == ("stock", True, 5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("EPOCHS", "DISDEL_EPOCHS sets nothing; DISDEL_TRAIN_EPOCHS does"),
        (
            "WORKERS",
            "DISDEL_WORKERS sets nothing; DISDEL_TRAIN_WORKERS or DISDEL_INFER_WORKERS or "
            "DISDEL_EXECUTOR_WORKERS does",
        ),
        ("TRAIN_EPOCH", "DISDEL_TRAIN_EPOCH sets nothing; DISDEL_TRAIN_EPOCHS does"),
        ("API_HOST", "DISDEL_API_HOST sets nothing; DISDEL_APIHOST does"),
        ("INSECURE", "DISDEL_INSECURE sets nothing; --insecure is a flag only"),
        ("STATEDIR", "DISDEL_STATEDIR sets nothing; DISDEL_STATE_DIR does"),
        ("TRAIN_EPOCHS", None),
        ("TEST_DATA", None),
    ],
)
def test_a_variable_that_sets_nothing_is_told_where_it_looks_like_one_that_does(
    name, said, monkeypatch
):
    for other in [other for other in os.environ if other.startswith("DISDEL_")]:
        monkeypatch.delenv(other)
    monkeypatch.setenv(f"DISDEL_{name}", "1")
    assert list(misnamed()) == ([] if said is None else [said])


def test_secrets_are_in_no_report():
    settings = disdel.Settings(auth="u:s3cret", redis="redis://:s3cret@h", action_env=["A=s3cret"])
    assert "s3cret" not in repr(settings) + repr(entries(settings))
