"""What the process that builds a user's network is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from disdel.types.names import Precision
from disdel.types.specs import CodeRef, FeatureSpec, ModelSpec, TargetSpec, TriedSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeRequest:
    """Build the user's network once, in a process of its own on the controller's host.

    Its files lie in `folder`; `features` and `targets` are those of the data set. It is tried out
    in `precision` on batches of at most `batch_size` of the data set's own samples, which the file
    `samples` holds, as numpy's `.npz`: `x` as stored, (n, *input_shape), and `y`,
    (n, *target_shape).
    """

    code: CodeRef
    folder: str
    samples: str
    features: tuple[FeatureSpec, ...]
    targets: tuple[TargetSpec, ...]
    batch_size: int
    precision: Precision = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeReply:
    """A network of the user's own, and what steps took in which it was tried out."""

    model: ModelSpec
    steps: TriedSteps
