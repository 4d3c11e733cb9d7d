"""Time limits as short as the planner says that they may be."""

import json
import re

import pytest

from tests.support.command import disdel

pytestmark = pytest.mark.framework


def test_a_short_time_limit_cuts_rounds_into_segments_and_loses_nothing(tmp_path):
    options = ("--runtime", "tensorflow", "--workers", 1, "--epochs", 200, "--sync", "once")
    job = ("train", "digits", *options, "--quiet")
    whole = json.loads(disdel(*job, "--json", "-", cwd=tmp_path).stdout)
    # The shortest limit that this machine's planner says it can live with.
    refused = disdel(*job, "--timeout-max", 1, cwd=tmp_path, check=False)
    assert refused.returncode == 2
    [timeout_s] = re.findall(r"raise --timeout-max to (\d+)", refused.stderr)
    cut = json.loads(disdel(*job, "--timeout-max", timeout_s, "--json", "-", cwd=tmp_path).stdout)
    outcomes = [entry["outcome"] for entry in cut["activations"] if entry["task"] == "train"]
    assert len(outcomes) > 1
    assert set(outcomes[:-1]) == {"continued-time"}
    assert outcomes[-1] == "ok"
    assert cut["totals"]["failed"] == 0
    # One worker, one seed: the same numbers, wherever the work was cut.
    assert cut["loss"] == whole["loss"]
    assert cut["accuracy"] == whole["accuracy"]
