"""What an activation's log holds: all of its own output, and nothing of any other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.openwhisk import OpenWhisk, is_cold
from tests.support.waiting import wait_until

PYTHON = """
import os, subprocess
def main(args):
    for number in range(args["lines"]):
        print(args["who"], number)
    os.write(2, b"to stderr by " + args["who"].encode() + b"\\n")
    if "later" in args:
        command = 'while [ ! -e "$0" ]; do sleep 0.01; done; echo late; touch "$0.done"'
        subprocess.Popen(["sh", "-c", command, args["later"]])
    return {}
"""
NODE = """
function main(args) {
  for (let number = 0; number < args.lines; number++) console.log(args.who, number)
  console.error('to stderr by', args.who)
  if (args.later) {
    const fs = require('fs')
    const timer = setInterval(() => {
      if (!fs.existsSync(args.later)) return
      clearInterval(timer)
      process.stdout.write('late\\n', () => fs.writeFileSync(`${args.later}.done`, ''))
    }, 10)
  }
  return {}
}
"""
KINDS = {
    "python": {"kind": "python:default", "code": PYTHON},
    "nodejs": {"kind": "nodejs:default", "code": NODE},
    "blackbox": {"kind": "blackbox", "image": "disdel/runtime-base", "code": PYTHON},
}

Say = Callable[..., list[str]]


@pytest.fixture(params=KINDS)
def say(whisk: OpenWhisk, request: pytest.FixtureRequest) -> Say:
    """Have an action of each kind say something; returns its log without the times."""
    if request.param == "nodejs" and "nodejs" not in whisk.http.get("/").json()["runtimes"]:
        pytest.skip("the platform has no kind for JavaScript: is node on its path?")
    if request.param == "blackbox" and not whisk.embedded:
        pytest.skip("the image is not known to be there")
    name = whisk.action(exec=KINDS[request.param], memory=256)

    def invoke(who: str, lines: int = 1, **args: Any) -> list[str]:
        reply = whisk.invoke(name, {"who": who, "lines": lines, **args})
        assert reply.status_code == 200, reply.text
        invoke.cold = is_cold(reply.json())
        return [line[31:] for line in whisk.activation(reply.json()["activationId"])["logs"]]

    return invoke


def said(who: str, lines: int) -> list[str]:
    return [f"stdout: {who} {number}" for number in range(lines)]


def test_a_large_output_is_its_own_activations(say: Say) -> None:
    for who, lines in (("one", 60_000), ("two", 3), ("three", 0)):
        log = say(who, lines)
        assert sorted(log) == sorted([*said(who, lines), f"stderr: to stderr by {who}"])
        assert [line for line in log if "stdout" in line] == said(who, lines)


@pytest.mark.only_embedded("there, it goes into the next activation's log")
def test_what_is_written_between_two_activations_is_in_no_log(say: Say, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert say("one", later=str(mark)) == ["stdout: one 0", "stderr: to stderr by one"]
    mark.touch()
    wait_until((tmp_path / "mark.done").exists)
    log = say("two")
    assert not say.cold
    assert sorted(log) == sorted(["stdout: two 0", "stderr: to stderr by two"])


def test_the_limit_counts_what_lines_cost(whisk: OpenWhisk) -> None:
    """As the engine's log file counts: 86 bytes for a line of 15 characters."""
    code = "def main(args):\n    for _ in range(20_000): print('fifteen letters')\n    return {}"
    name = whisk.action(code, limits={"logs": 1})
    reply = whisk.invoke(name)
    assert reply.json()["response"]["success"]
    *lines, last = whisk.activation(reply.json()["activationId"])["logs"]
    # The fraction of a second that is part of a line has no zeros at its end.
    assert 12_100 < len(lines) < 12_300
    assert last.endswith(
        "Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes."
    )
