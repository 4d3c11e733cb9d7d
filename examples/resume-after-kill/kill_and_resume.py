"""Kill a training after its first round, resume it, and compare with one that was left alone."""

import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file

DEADLINE_S = 120
DISDEL = [sys.executable, "-m", "disdel", "train", "--quiet"]
JOB = ["digits", "--runtime", "torch", "--workers", "1", "--epochs", "4"]


def until_a_round_is_saved(training, run_dir):
    """Wait for the first complete round of the run in `run_dir`, and return the run's folder."""
    end = time.monotonic() + DEADLINE_S
    while training.poll() is None and time.monotonic() < end:
        for progress in run_dir.glob("*/progress.jsonl"):
            if progress.read_text().count("\n") > 1:
                return progress.parent
        time.sleep(0.05)
    raise SystemExit("the training ended, or took too long, before a round was saved")


killed = subprocess.Popen([*DISDEL, *JOB, "--run-dir", "killed"])
run = until_a_round_is_saved(killed, Path("killed"))
killed.kill()
killed.wait()
print("killed after its first round:", run.name)

subprocess.run([*DISDEL, "--resume", run.name, "--run-dir", "killed"], check=True)
subprocess.run([*DISDEL, *JOB, "--run-dir", "whole"], check=True)

resumed = load_file(run / "model.safetensors")
whole = load_file(next(Path("whole").glob("*/model.safetensors")))
same = all((resumed[name] == whole[name]).all() for name in whole)
print("the resumed model is", "the same, bit for bit" if same else "another one")
sys.exit(0 if same else 1)
