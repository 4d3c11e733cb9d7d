"""Federations with numpy alone, as commands on embedded platforms of their own."""

import json
import os
import subprocess
import sys

from tests.support.command import ROOT, disdel
from tests.support.held import until
from tests.support.waiting import wait_until

FEDERATION = ("--clients", "40", "--clients-per-round", "12", "--batch", "10", "--rounds", "4")
_TOLD = ("--quiet", "--json", "report.json")


def ended(folder, *arguments, code=0):
    """What `disdel federate` has said."""
    done = disdel("federate", *arguments, *_TOLD, cwd=folder, check=False, linear=True)
    assert done.returncode == code, done.stderr
    return done.stderr


def federated(folder, *arguments):
    """The report of a federation."""
    return federated_as(folder, *FEDERATION, *arguments)


def federated_as(folder, *arguments):
    """The same, of other clients and rounds."""
    folder.mkdir()
    ended(folder, "digits", "--runtime", "tensorflow", *arguments)
    return report_in(folder)


def report_in(folder):
    return json.loads((folder / "report.json").read_text())


def model(report, folder):
    """The file of the model: all bits of the weights."""
    return (folder / report["model"]).read_bytes()


def updates(report):
    return [(e["round"], e["client"], e["weight"], e["checksum"]) for e in report["ledger"]]


def killed_in_round_3(folder, *arguments):
    """The id of a federation whose command is killed when two rounds are done."""
    command = [sys.executable, "-m", "tests.support.linear", "federate", *arguments, *_TOLD]
    process = subprocess.Popen(
        [*command, *until(folder / "go", 3)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: rounds_done(folder) >= 2)
    process.kill()
    process.communicate()
    (folder / "go").touch()
    [run] = (folder / "runs").iterdir()
    return run.name


def rounds_done(folder):
    files = list(folder.glob("runs/*/progress.jsonl"))
    return files[0].read_bytes().count(b"\n") - 1 if files else 0
