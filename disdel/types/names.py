"""The closed sets of names that settings, plans and reports are written in."""

from __future__ import annotations

from typing import Literal, TypeAlias

Sync = Literal["epoch", "once"] | int
Split = Literal["train", "validation", "test"]
# How an activation ended, whatever the platform calls it: `disdel.platforms.base` explains them.
Ending = Literal[
    "success",
    "application-error",
    "out-of-memory",
    "time-limit",
    "start-time-limit",
    "not-started",
    "image-missing",
    "no-container",
    "vanished",
    "platform-error",
]
Outcome = Literal["ok", "continued-time", "continued-memory", "oom", "timeout", "error"]
Objective = Literal["time", "cost", "memory"]
EstimatorName = Literal["measured", "sap"]
# A name of `disdel.runtimes.registry`.
RuntimeName: TypeAlias = str
# What samples are: bytes of (height, width, channels); one row of numbers, as of a table; integers
# that may name things; numbers of any other shape.
SampleKind = Literal["image", "vector", "tokens", "numbers"]
TargetKind = Literal["class", "number"]
# What is learnt of a sample: its class, one of two classes by one output, or a number.
Target = Literal["class", "binary", "number"]
# The usual loss of what is learnt.
USUAL_LOSSES: dict[Target, str] = {
    "class": "cross_entropy",
    "binary": "binary_cross_entropy",
    "number": "mean_squared_error",
}
# What becomes of samples before a network's first layer: nothing, bytes divided by 255, means and
# deviations of the training split taken away, or what a function beside the user's code does.
Preprocessing = Literal["none", "bytes", "standardise", "beside_code"]
# What a training step computes in; weights and optimizer are float32 either way.
Precision = Literal["float32", "bfloat16"]
OptimizerState = Literal["reset", "local", "average"]
# What an update weighs: the samples that it has seen, 1, or its passes over its own samples.
Average = Literal["samples", "equal", "epochs"]
# What a client has more or less of by its speed.
Balance = Literal["samples", "epochs"]
WorkersPolicy = Literal["fixed", "adapt"]
RateShape = Literal["constant", "cosine", "linear"]
# How the learning rate grows with the workers.
RateScale = Literal["none", "sqrt", "linear"]
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad", "nadam", "lion")
DEFAULT_OPTIMIZER = "adam"
