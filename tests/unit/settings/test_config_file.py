"""Options from a file and from --set: how they are read, and in which order they count."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from typer.testing import CliRunner

from disdel.cli.app import app
from disdel.cli.commands import Commands
from disdel.cli.declared import Given
from disdel.errors import UsageError
from disdel.settings import Settings
from disdel.types import FederateJob
from disdel.types.checks import take_fields
from disdel.types.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    colour: Annotated[
        Literal["red", "blue"], Setting("What it is painted in.", group="How it looks")
    ] = "red"
    limits: Annotated[str | None, Setting("Named as its group.", group="Limits")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    VARIABLES: ClassVar[str] = "DISDEL_TEST_"

    dataset: Annotated[str, Setting("What is painted.", argument=True)]
    rounds: Annotated[int, Setting("How often.", low=1, high=100)] = 1
    wait_s: Annotated[float | None, Setting("How long.", words={"never": None}, above=0)] = None
    tag: Annotated[str, Setting("What it is called.")] = "none"
    local_epochs: Annotated[float | str, Setting("By client.")] = 1.0
    env: Annotated[tuple[str, ...], Setting("Variables.", secret=True)] = ()
    keep: Annotated[bool, Setting("Keep it.")] = False
    paint: Paint = field(default_factory=Paint)

    def __post_init__(self):
        take_fields(self)


@pytest.fixture
def do(tmp_path, monkeypatch):
    """Run a command with a file of this text, and have what it got."""
    monkeypatch.chdir(tmp_path)
    cli, got = Commands(), []

    def command(asked: Given[Work], resume: str | None = None):
        """Do it."""
        got.append((asked, resume))

    cli.command("do", takes_file=True)(command)
    cli.command("other")(lambda: None)

    def run(text, *arguments):
        if text is not None:
            Path("a.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
            arguments = ("--config", "a.toml", *arguments)
        done = CliRunner().invoke(cli, ["do", *arguments], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return got[-1][0]

    return run


def test_a_list_of_one_number_is_for_one_client(do):
    assert do('dataset = "x"\nlocal_epochs = [2]').made().local_epochs == "2*1"


def test_every_kind_of_value_is_that_of_the_command_line(do):
    asked = do(
        """
        dataset = "house"
        rounds = 0x10
        wait = 2.5
        tag = 1.10
        local-epochs = [1, 2.50, "3*4"]
        env = ["A=two words", "B=2"]
        keep = true
        [how-it-looks]
        colour = "blue"
        [limits]
        limits = "stock"
        """
    )
    assert asked.made() == Work(
        dataset="house",
        rounds=16,
        wait_s=2.5,
        tag="1.10",
        local_epochs="1,2.50,3*4",
        env=("A=two words", "B=2"),
        keep=True,
        paint=Paint(colour="blue", limits="stock"),
    )
    assert asked.sources["rounds"] == "rounds in a.toml"
    plain = do('dataset = "x"\nlimits = "roomy"\nlocal_epochs = 2\nwait = "never"\nenv = "A=b c"')
    assert plain.made().paint.limits == "roomy"
    assert (plain.made().local_epochs, plain.values["wait"]) == (2.0, None)
    assert plain.made().env == ("A=b c",)
    assert do(b"\xef\xbb\xbfdataset = 'of Windows'\r\n").made().dataset == "of Windows"


def test_the_command_line_comes_before_set_before_the_file_before_variables(do, monkeypatch):
    for name in ("ROUNDS", "WAIT", "TAG", "LOCAL_EPOCHS"):
        monkeypatch.setenv(f"DISDEL_TEST_{name}", "4")
    file = "rounds = 3\nwait = 3\ntag = 'file'\nkeep = true"
    asked = do(file, "--set", "rounds=2", "--set", "wait=2", "--rounds", "1", "house", "--no-keep")
    assert asked.values == {
        "dataset": "house",
        "rounds": 1,
        "wait": 2.0,
        "tag": "file",
        "local_epochs": 4.0,
        "keep": False,
    }
    assert asked.sources == {
        "dataset": "DATASET",
        "rounds": "--rounds",
        "wait": "--set wait",
        "tag": "tag in a.toml",
        "local_epochs": "DISDEL_TEST_LOCAL_EPOCHS",
        "keep": "--keep",
    }


def test_set_needs_no_file_and_repeats_what_may_be_repeated(do):
    asked = do(None, "--set", "env=A=b c", "--set", "env=B=", "--set", "dataset=x=y")
    assert asked.made() == Work(dataset="x=y", env=("A=b c", "B="))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rounds = 0", "rounds in a.toml must be a whole number from 1 to 100, not '0'"),
        ("rounds = 5.0", "must be a whole number from 1 to 100, not '5.0'"),
        ("rounds = true", "rounds in a.toml must be N, not true or false"),
        ("rounds = [1]", "must be N, not a list"),
        ("rounds = 9223372036854775808", "more than 64 bits"),
        ("wait = inf", "must be never or a number of seconds above 0, not 'inf'"),
        ("tag = false", "must be TEXT, not true or false"),
        ("tag = 2026-01-01", "must be TEXT, not a date or a time"),
        ("tag = ' '", "tag in a.toml is empty: give it a value, or leave it out"),
        ('tag = "a\\u0000"', "holds characters that cannot be in it"),
        ("keep = 'perhaps'", "must be 1 or 0"),
        ("keep = 00:00:01", "must be true or false, not a date or a time"),
        ("colour = 'green'", "must be red or blue, not 'green'"),
        ("local_epochs = []", "is empty"),
        ("local_epochs = [[1]]", "not a list"),
        ("env = [{a = 1}]", "not a table"),
        ("round = 1", "round in a.toml is no option of `disdel do`; did you mean rounds?"),
        ("local_epoch = 1", "did you mean local-epochs?"),
        ("zzz = 1", "`disdel do --help` lists them"),
        ('"" = 1', "'' in a.toml is no option"),
        ('"a\\nb" = 1', r"'a\nb' in a.toml is no option"),
        ('["a\\nb"]', r"['a\nb'] in a.toml is no group"),
        ("resume = 'x'", "--resume is for the command line alone"),
        ("config = 'b.toml'", "--config is for the command line alone"),
        ("local-epochs = 1\nlocal_epochs = 1", "local_epochs in a.toml is given twice"),
        ("tag = 'a'\ntag = 'b'", "a.toml is no TOML: Cannot overwrite a value"),
        ("[how_it_look]\n", "is no group of options; did you mean [how-it-looks]?"),
        ("[zzz]\n", "there are [how-it-looks], [limits]"),
        ("[limits]\nrounds = 1", "stands under [limits], and belongs above all tables"),
        ("[limits]\ncolour = 'red'", "and belongs under [how-it-looks]"),
        ("rounds", "a.toml is no TOML: Expected '='"),
        (f"tag = {'[' * 5000}", "a.toml is no TOML"),
        (f"rounds = 1{'0' * 5000}", "a.toml is no TOML"),
        (b"tag = '\xff'", "a.toml is no text in UTF-8"),
        ("#" * 2**20 + "\n", "a.toml is larger than 1 MiB"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_in_a_file_is_told_with_the_next_step(do, text, told):
    with pytest.raises(UsageError) as refused:
        do(text, "house")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "rounds=many"], "--set rounds must be a whole number from 1 to 100, not 'many'"),
        (["--set", "rounds="], "--set rounds is empty"),
        (["--set", "rounds=1", "--set", "rounds=2"], "--set rounds is given twice"),
        (["--set", "roundz=1"], "--set roundz is no option of `disdel do`; did you mean rounds?"),
        (["--set", "resume=x"], "--resume is for the command line alone"),
        (["--config", "none.toml"], "--config none.toml cannot be read: No such file"),
        (["--config", "."], "--config . cannot be read: Is a directory"),
        (["--config", ""], "--config is empty"),
        (["--config", "~nobody-of-this-name/a"], "there is no such home folder"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_told_too(do, arguments, told):
    with pytest.raises(UsageError) as refused:
        do(None, "house", *arguments)
    assert told in str(refused.value)


@pytest.mark.parametrize("pair", ["sEcret", "=sEcret"])
def test_a_pair_that_is_none_may_be_a_secret(do, pair):
    with pytest.raises(UsageError, match="--set takes NAME=VALUE") as refused:
        do(None, "house", "--set", pair)
    assert "sEcret" not in str(refused.value)


def test_a_federation_and_its_surroundings_come_from_one_file(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "disdel.jobs.run_federate", lambda job, settings, *_, **__: asked.append((job, settings))
    )
    file = tmp_path / "a.toml"
    file.write_text(
        'dataset = "digits"\nstrategy = "fedprox:mu=0.1"\n'
        "[federation]\nclients = 3\nlocal-epochs = [1, 2, 5]\nrounds = 9\n"
        "[limits]\nmemory-max = 512\n[output]\nquiet = true\nkeep = true\n"
    )
    done = CliRunner().invoke(
        app, ["federate", "--config", str(file), "--set", "rounds=50"], standalone_mode=False
    )
    [(job, settings)] = asked
    assert done.stdout == ""
    assert job == FederateJob(
        dataset="digits", strategy="fedprox:mu=0.1", clients=3, local_epochs="1,2,5", rounds=50
    )
    assert settings == Settings(memory_max=512, keep=True)


def test_a_file_may_say_of_a_resumed_run_what_it_is_and_nothing_else(tmp_path, monkeypatch):
    before, asked = FederateJob(dataset="digits", clients=3), []

    class Resumed:
        federated_as = before

        def federation(self, rounds):
            asked.append(rounds)
            return before

    monkeypatch.setattr("disdel.jobs.find_resumed", lambda *_: Resumed())
    monkeypatch.setattr("disdel.jobs.run_federate", lambda *_, **__: None)

    def resume(text):
        (tmp_path / "a.toml").write_text(text)
        arguments = ["federate", "--resume", "RUN", "-q", "--config", str(tmp_path / "a.toml")]
        return CliRunner().invoke(app, arguments, standalone_mode=False).exception

    resume('dataset = "digits"\nclients = 3\nrounds = 50')
    assert asked == [50]
    told = str(resume("clients = 4"))
    assert "clients in" in told
    assert "a.toml is 4, and 3 in the run to be resumed" in told
