"""Garbage in every option, variable and file: a sentence each time, and never an exception of ours.

A command may refuse what it is given or take it; what it raises must be something that
`disdel.host.telling` has a sentence for.
"""

import contextlib
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from disdel import jobs
from disdel.cli.app import app
from disdel.cli.plan import Prices
from disdel.cli.runs import Pruned
from disdel.controller.runs import lease
from disdel.errors import UsageError
from disdel.host.environment import read_wskprops
from disdel.host.telling import told
from disdel.platforms.base import Provider
from disdel.platforms.embedded.provider import EmbeddedProvider
from disdel.platforms.openwhisk.access import access_of
from disdel.settings import Settings, data_dir, declared, run_dir
from disdel.types import InferJob, RunReport, TrainJob
from disdel.types.report_json import report_to_json

# Made once: it takes longer than a command.
COMMAND = get_command(app)
_NUMBERS = ("0", "-1", "1", "2", "1e9", "1_0", "1.5", "-0", "0x10", "1e-320", "nan", "inf", "-inf")
_WORDS = ("auto", "off", "true", "", " ", "\uff11", "10" * 15, "9" * 5000)
NUMBERS = st.sampled_from(_NUMBERS + _WORDS)
TEXTS = st.one_of(
    NUMBERS,
    st.sampled_from(["\udcff\udcfe", "a\nb", "\x1b[2J", "😀", "a" * 300, "~nobody", "/", ".."]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12),
)


def flags(*classes, but=()):
    options = [option for cls in classes for option in declared(cls)]
    return [o.flag for o in options if not (o.is_switch or o.setting.argument or o.name in but)]


# These would be asked, or made.
ELSEWHERE = ("apihost", "redis", "data_dir", "run_dir")
OPTIONS = {
    ("plan", "digits"): flags(TrainJob, Settings, Prices, but=(*ELSEWHERE, "action_env")),
    ("train", "digits"): [*flags(TrainJob, Settings, but=ELSEWHERE), "--resume", "--json"],
    ("infer", "digits"): [*flags(InferJob, but=("input",)), "--predictions"],
    ("runs", "prune"): flags(Pruned),
    ("logs", "RUN"): ["--worker"],
}
VARIABLES = ["APIHOST", "AUTH", "REDIS", "IMAGE_PREFIX", "IMAGE_TAG", "ARCH", "DATA_DIR", "RUN_DIR"]
VARIABLES += ["STATE_DIR", "HELPER_MEMORY_MB", "HELPER_TIMEOUT_S", "DEBUG", "PATIENCE_NETWORK"]
VARIABLES += ["TRAIN_BATCH", "TRAIN_SYNC", "TRAIN_WARMUP", "MEMORY_MAX", "KEEP", "ACTION_ENV"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a run, for commands that neither train nor connect."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in VARIABLES:
            patch.delenv(f"DISDEL_{name}", raising=False)
        patch.setenv("DISDEL_STATE_DIR", str(folder / "state"))
        patch.setenv("DISDEL_DATA_DIR", str(folder / "data"))
        patch.setenv("WSK_CONFIG_FILE", str(folder / "wskprops"))

        def asked(*_, **__):
            raise UsageError("it would run")

        patch.setattr(lease, "_PATIENCE_S", 0.0)
        for name in ("run_train", "run_infer"):
            patch.setattr(jobs, name, asked)
        # Which starts one for each command that would train.
        patch.setattr(EmbeddedProvider, "ahead", Provider.ahead)
        yield folder


def answered(*arguments):
    """Run a command, and demand that whatever it raises is told in a sentence."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            COMMAND.main(list(arguments), prog_name="disdel")
        except SystemExit:
            return
        except Exception as error:
            sentence = told(error)
            if sentence is None:
                raise
            assert sentence[0]
            assert sentence[1] in (1, 2)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_options(here, data):
    command = data.draw(st.sampled_from(list(OPTIONS)))
    options = data.draw(st.lists(st.sampled_from(OPTIONS[command]), min_size=1, max_size=2))
    words = [word for option in options for word in (option, data.draw(TEXTS))]
    answered(*command, *words)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(VARIABLES), TEXTS), min_size=1, max_size=2))
def test_variables(here, variables):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables:
            # A variable holds bytes, and so no half of a character as UTF-16 has them.
            patch.setenv(f"DISDEL_{name}", os.fsdecode(value.encode("utf-8", "surrogatepass")))
        for read in (lambda: access_of(Settings()), data_dir, run_dir):
            with contextlib.suppress(UsageError):
                read()
        if "APIHOST" not in dict(variables):  # That would be asked.
            answered("plan", "digits")
        answered("runs", "list")


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


def damaged(data, text):
    """A file of JSON lines with something wrong in it."""
    if data.draw(st.booleans()):
        return data.draw(st.binary(max_size=64))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(text)))
        return text[:cut] + data.draw(st.binary(max_size=4)) + text[cut + 4 :]
    lines = []
    for line in text.splitlines():
        fields = json.loads(line)
        names = data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=2)) if fields else ()
        for name in names:
            if data.draw(st.booleans()):
                del fields[name]
            else:
                fields[name] = data.draw(VALUES)
        lines.append(json.dumps(fields))
    return "\n".join(lines).encode() + b"\n"


def whole_files():
    """What a run and the state folder hold, as far as JSON goes."""
    report = RunReport(
        run="20260101-000000-train-digits-abcd",
        job="train",
        dataset="digits",
        platform="embedded",
        status="running",
        wall_s=1.0,
        settings={"batch": 64},
    )
    process = {"pid": os.getpid(), "created": 1.0, "start_ticks": 1}
    process["view"] = {"host": "h", "boot": "b", "pid_namespace": "n"}
    place = {"platform": "embedded", "address": None, "insecure": False, "store": None}
    run = f"runs/{report.run}"
    holder = {"process": process, "token": "t", "interruptible": True}
    return {
        f"{run}/report.json": json.dumps(report_to_json(report)),
        f"{run}/controller.json": json.dumps({"places": [place]}),
        f"{run}/controller.lock": json.dumps(holder),
        f"{run}/progress.jsonl": json.dumps({"version": 2, "job": {"dataset": "digits"}}),
        "state/platforms/abc.json": json.dumps({"id": "abc", "process": process, "port": 1}),
        "wskprops": "{}",
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_files(here, data):
    wanted = whole_files()
    name = data.draw(st.sampled_from(sorted(wanted)))
    for other, text in wanted.items():
        path = here / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged(data, text.encode()) if other == name else text.encode())
    run = Path(name).parent.name if name.startswith("runs/") else "2026"
    for command in (
        ("runs", "list"),
        ("runs", "show", run),
        ("runs", "compare", run, run),
        ("runs", "prune", "--failed"),
        ("report", run, "--output", str(here / "page.html")),
        ("logs", run),
        ("train", "--resume", run),
        ("platform", "status"),
        ("stop", run),
    ):
        answered(*command)
    with contextlib.suppress(UsageError):
        read_wskprops({"WSK_CONFIG_FILE": str(here / "wskprops")})


@pytest.mark.parametrize("argument", ["", "-", "--", "--no-such", "\udcff", "😀", "a" * 5000])
def test_arguments(here, argument):
    for command in ((), ("runs",), ("runs", "show"), ("logs",), ("stop",), ("dataset", "info")):
        answered(*command, argument)
