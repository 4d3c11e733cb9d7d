"""What a job is about: data sets and networks, without their samples and weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from disdel.types.names import (
    DEFAULT_OPTIMIZER,
    RuntimeName,
    SampleKind,
    Split,
    Target,
    TargetKind,
)
from disdel.types.reading import Reading, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One of the tensors that a sample is made of, or its target.

    `shape` is without the batch axis; `dtype` is numpy's name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: SampleKind | TargetKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What is known of a data set without reading its samples.

    `name` and `version` are those of the TFDS catalog or of the import. `input_shape` is the shape
    of one sample without the batch axis, images as (height, width, channels); `input_dtype` is
    "uint8" for images, "int32" or "int64" for other integers, else "float32". `classes` is 0 where
    the targets are numbers. Where the source has no test split, one was held out of its training
    split and `held_out` is true; where it has no validation split, there are no such samples, or
    as many as a training holds out of its training split (`validation_held_out`). `reading` says
    how new samples are read like those of the data set. `scaling` is None for images, and where
    the samples have not been looked at yet.
    """

    name: str
    version: str
    input_shape: tuple[int, ...]
    input_dtype: str
    classes: int
    train_samples: int
    test_samples: int
    held_out: bool = False
    validation_samples: int = 0
    validation_held_out: bool = False
    class_names: tuple[str, ...] = ()
    description: str = ""
    reading: Reading = field(default_factory=Reading)
    scaling: Scaling | None = None

    @property
    def kind(self) -> SampleKind:
        """What a sample is. The integers of a table are numbers, and those of an array tokens."""
        if len(self.input_shape) == 3 and self.input_dtype == "uint8":
            return "image"
        if self.input_dtype != "float32" and self.reading.table is None:
            return "tokens"
        return "vector" if len(self.input_shape) == 1 else "numbers"

    @property
    def features(self) -> tuple[FeatureSpec, ...]:
        """What a sample is made of: one tensor."""
        return (
            FeatureSpec(
                name="samples", shape=self.input_shape, dtype=self.input_dtype, kind=self.kind
            ),
        )

    @property
    def target(self) -> FeatureSpec:
        """What is learnt of a sample: a class number, or a number to predict."""
        if self.classes:
            return FeatureSpec(name="label", shape=(), dtype="int32", kind="class")
        return FeatureSpec(name="target", shape=(), dtype="float32", kind="number")

    @property
    def outputs(self) -> int:
        """What a model gives for a sample: so many probabilities, one a class, or one number."""
        return self.classes or 1

    def samples(self, split: Split) -> int:
        counts = {
            "train": self.train_samples,
            "validation": self.validation_samples,
            "test": self.test_samples,
        }
        return counts[split]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRef:
    """A function of the user's, without its files.

    `entry` is as the user wrote it, `source` the file or the dotted module in the folder of the
    files, `requirements` what the module says that it needs, as pip writes it. `digest` is of
    source, function and files.
    """

    entry: str
    source: str
    function: str
    requirements: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerGroup:
    """Parameters of a PyTorch module that one of `torch.optim`'s rules updates alike.

    `parameters` are their names. `settings` are the rule's, as PyTorch names them, but for `betas`,
    which are `beta1` and `beta2`.
    """

    parameters: tuple[str, ...]
    settings: dict[str, float | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A network that the user wrote, as it was found when it was built once.

    `gives_probabilities` is whether its outputs are probabilities and not logits. `optimizer` names
    the one that stands beside its function, None where there is none; where that is one of
    `torch.optim`, `optimizer_groups` say what it does. `has_schedule` is whether its learning rate
    changes by itself. `takes_integers` is whether it is given integers as such, and not as float32.
    """

    code: CodeRef
    runtime: RuntimeName
    facts: ModelFacts
    gives_probabilities: bool
    optimizer: str | None
    optimizer_groups: tuple[OptimizerGroup, ...] = ()
    has_schedule: bool = False
    takes_integers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpec:
    """The optimizer that a network is trained with.

    `name` is that of its rule. `beside_code` is whether it is the one that stands beside the user's
    function, with the settings that it has there.
    """

    name: str
    beside_code: bool = False

    @property
    def named(self) -> str | None:
        """Its name where that says all of it; None for the one beside the user's function."""
        return None if self.beside_code else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A network by name, made concrete by the shapes of a data set; `own` if the user wrote it.

    What others ask of a network they ask of its properties and methods, which answer whoever wrote
    it; `own` is for those that build it.

    `scaling` is what a built-in network standardises with, inside: None for nothing.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    target: Target = "class"
    own: OwnModel | None = None
    scaling: Scaling | None = None

    @property
    def loss_unit(self) -> float:
        """The squared error of a prediction that is off by the targets' deviation; 1 for others."""
        if self.target != "number" or self.scaling is None:
            return 1.0
        return self.scaling.target_deviation**2

    @property
    def code(self) -> CodeRef | None:
        """The user's function that makes it."""
        return self.own.code if self.own else None

    @property
    def home(self) -> RuntimeName | None:
        """The runtime in whose framework it is written; None where every runtime builds it."""
        return self.own.runtime if self.own else None

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.code.entry if self.code else self.name

    def optimizer(self, asked: str | None) -> OptimizerSpec:
        """What trains it: the one asked for, else that beside its code, else the default."""
        if asked is not None:
            return OptimizerSpec(name=asked)
        if self.own is not None and self.own.optimizer is not None:
            return OptimizerSpec(name=self.own.optimizer, beside_code=True)
        return OptimizerSpec(name=DEFAULT_OPTIMIZER)

    @property
    def label(self) -> str:
        """The network with its shapes, as one word: `cnn-28x28x1-10`."""
        shape = "x".join(str(size) for size in self.input_shape)
        code = f"-{self.code.digest[:12]}" if self.code else ""
        return f"{self.name}-{shape}-{self.classes}{code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Sizes of a network, for one sample where it depends on samples.

    parameters: trainable parameters; activations: elements of the layers' outputs that a training
    step keeps for its backward pass, input included; outputs: elements of all layers' outputs;
    largest: elements of the largest output; layers: how many there are; multiply_adds: of the
    forward pass.
    """

    parameters: int
    activations: int
    outputs: int
    largest: int
    layers: int
    multiply_adds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMemory:
    """What calls of a compiled network take beside their arguments, in bytes.

    train_bytes: of a training step; score_bytes: of scoring a batch.
    """

    train_bytes: int
    score_bytes: int
