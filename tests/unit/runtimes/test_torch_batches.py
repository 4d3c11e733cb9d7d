"""Batches of many sizes, as the last ones of many clients' epochs are."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.framework

TRAINING = """
import json, re
from pathlib import Path

import numpy as np

from disdel.models import built_in
from disdel.models.torch_networks import build_trainer
from disdel.protocol.messages import Network

network = Network(
    runtime="torch",
    model=built_in("mlp", input_shape=(8, 8, 1), classes=10),
    optimizer="sgd",
    learning_rate=0.1,
    seed=0,
    threads=1,
)
trainer = build_trainer(network, np.zeros((2, 8, 8, 1), np.uint8))


def train(samples):
    trainer.train(np.zeros((1, samples, 8, 8, 1), np.uint8), np.zeros((1, samples), np.int32))


def anonymous_mb():
    told = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous: +([0-9]+)", told)[1]) / 1024


train(64)
before_mb = anonymous_mb()
for samples in range(1, 64, 2):
    train(samples)
print(json.dumps(anonymous_mb() - before_mb))
"""


def test_a_size_of_batch_takes_little_memory_for_good():
    made = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True
    )
    assert json.loads(made.stdout) / 32 < 1
