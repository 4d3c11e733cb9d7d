"""What a job is about: data sets and networks, without their samples and weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from disdel.types.names import (
    DEFAULT_OPTIMIZER,
    Preprocessing,
    RuntimeName,
    SampleKind,
    Split,
    Target,
    TargetKind,
)
from disdel.types.reading import Reading, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One of the tensors that a sample is made of.

    `shape` is without the batch axis, images as (height, width, channels); `dtype` is numpy's name:
    "uint8" for images, "int32" or "int64" for other integers, else "float32".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: SampleKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """One of the tensors that are learnt of a sample.

    `shape` is without the batch axis: () for one class or number a sample. `dtype` is "int32" for
    class numbers, of which there are `classes`, and "float32" for numbers to predict.
    `class_names` has one a class, or none where they are called by their numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: TargetKind
    classes: int = 0
    class_names: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """How many classes or numbers one sample has."""
        return math.prod(self.shape)

    @property
    def predicted_shape(self) -> tuple[int, ...]:
        """What is predicted of a sample: a probability for each class, or numbers."""
        if self.kind == "class":
            return (*self.shape, self.classes)
        return self.shape or (1,)


def feature_of(shape: tuple[int, ...], dtype: str, *, from_table: bool = False) -> FeatureSpec:
    """The tensor of samples that are one, of whatever kind its shape and dtype say.

    Args:
        shape: of one sample.
        dtype: numpy name.
        from_table: whether it is a row of a table, whose integers are numbers; others are tokens.
    """
    kind: SampleKind = "vector" if len(shape) == 1 else "numbers"
    if len(shape) == 3 and dtype == "uint8":
        kind = "image"
    elif dtype != "float32" and not from_table:
        kind = "tokens"
    return FeatureSpec(name="samples", shape=shape, dtype=dtype, kind=kind)


def target_of(
    classes: int, shape: tuple[int, ...] = (), class_names: tuple[str, ...] = ()
) -> TargetSpec:
    """The one tensor of targets: of `classes` classes, or, where that is 0, numbers to predict."""
    if not classes:
        return TargetSpec(name="target", shape=shape, dtype="float32", kind="number")
    return TargetSpec(
        name="label",
        shape=shape,
        dtype="int32",
        kind="class",
        classes=classes,
        class_names=class_names,
    )


def nameless(targets: tuple[TargetSpec, ...]) -> tuple[TargetSpec, ...]:
    """Targets as networks know them: without names of classes, which may be many."""
    return tuple(replace(target, class_names=()) for target in targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What is known of a data set without reading its samples.

    `name` and `version` are those of the TFDS catalog or of the import. `features` are the tensors
    that a sample is made of, and `targets` those that are learnt of it: today one of each, which
    the properties are of. Where the source has no test split, one was held out of its training
    split and `held_out` is true; where it has no validation split, there are no such samples, or
    as many as a training holds out of its training split (`validation_held_out`). `reading` says
    how new samples are read like those of the data set. `scaling` is None for images, and where
    the samples have not been looked at yet.
    """

    name: str
    version: str
    features: tuple[FeatureSpec, ...]
    targets: tuple[TargetSpec, ...]
    train_samples: int
    test_samples: int
    held_out: bool = False
    validation_samples: int = 0
    validation_held_out: bool = False
    description: str = ""
    reading: Reading = field(default_factory=Reading)
    scaling: Scaling | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.features[0].shape

    @property
    def input_dtype(self) -> str:
        """The dtype of samples, as numpy names it."""
        return self.features[0].dtype

    @property
    def kind(self) -> SampleKind:
        """What a sample is."""
        return self.features[0].kind

    @property
    def target(self) -> TargetSpec:
        """What is learnt of a sample."""
        return self.targets[0]

    @property
    def classes(self) -> int:
        """How many classes there are; 0 where numbers are predicted."""
        return self.target.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class; none where they are called by their numbers."""
        return self.target.class_names

    @property
    def outputs(self) -> int:
        """What a model gives for a sample: so many probabilities or numbers."""
        return math.prod(self.target.predicted_shape)

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
class OptimizerSpec:
    """The optimizer that a network is trained with.

    `name` is that of its rule. `beside_code` is whether it is the one that stands beside the user's
    function, with the settings that it has there; where that is one of `torch.optim`, `groups` say
    what it does. `has_schedule` is whether its learning rate changes by itself.
    """

    name: str
    beside_code: bool = False
    groups: tuple[OptimizerGroup, ...] = ()
    has_schedule: bool = False

    @property
    def named(self) -> str | None:
        """Its name where that says all of it; None for the one beside the user's function."""
        return None if self.beside_code else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSpec:
    """The loss that a network is trained with.

    `beside_code` is whether it stands beside the user's function; else it is the usual one of what
    is learnt. Gradients are those of the loss divided by `unit`, so that steps do not depend on the
    units of numbers to predict.
    """

    name: str
    beside_code: bool = False
    unit: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A network, with all that is decided of it before it is trained, whoever wrote it.

    It is described once: a built-in one by `disdel.models.built_in`, the user's own when it is
    built and tried (`disdel.models.user.describe`). Everybody else reads it here.

    Attributes:
        name: of a built-in one, or the user's function as the user wrote it.
        features: the tensors of a sample that it takes.
        targets: those that it is trained on, without names of classes.
        learns: how its outputs tell of a target.
        gives_probabilities: whether outputs are probabilities and not logits.
        takes_integers: whether it is given integers as such, and not as float32.
        facts: its sizes.
        default_optimizer: what trains it where no other is asked for.
        loss: what its steps make smaller.
        metrics: the names of the means that scores have beside loss and accuracy.
        preprocessing: what becomes of samples before its first layer, inside the model.
        augments: whether the user's code changes samples in training.
        scaling: what it standardises with, and the units of the numbers that it predicts.
        code: the user's function that makes it; None where it is made of `disdel.models` layers.
        home: the runtime in whose framework it is written; None where every runtime builds it.
        has_loops: whether Python's own conditions and loops in it depend on values, so that they
            must become the framework's where a graph is made of it.
        by_sample: whether outputs and loss of a batch are made of those of its samples, so that a
            batch can be cut.
    """

    name: str
    features: tuple[FeatureSpec, ...]
    targets: tuple[TargetSpec, ...]
    learns: Target
    gives_probabilities: bool
    facts: ModelFacts
    loss: LossSpec
    metrics: tuple[str, ...] = ()
    preprocessing: Preprocessing = "none"
    default_optimizer: OptimizerSpec = OptimizerSpec(name=DEFAULT_OPTIMIZER)
    takes_integers: bool = False
    augments: bool = False
    scaling: Scaling | None = None
    code: CodeRef | None = None
    home: RuntimeName | None = None
    has_loops: bool = False
    by_sample: bool = True

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.features[0].shape

    @property
    def input_dtype(self) -> str:
        """The dtype of samples as stored, as numpy names it."""
        return self.features[0].dtype

    @property
    def target(self) -> TargetSpec:
        """What it is trained on."""
        return self.targets[0]

    @property
    def classes(self) -> int:
        """How many classes there are; 0 where numbers are predicted."""
        return self.target.classes

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.code.entry if self.code else self.name

    def optimizer(self, asked: str | None) -> OptimizerSpec:
        """What trains it: the one asked for, else its own."""
        return self.default_optimizer if asked is None else OptimizerSpec(name=asked)

    @property
    def label(self) -> str:
        """The network with its shapes, as one word: `cnn-28x28x1-10`."""
        shape = "x".join(str(size) for size in self.input_shape)
        outputs = "x".join(str(size) for size in (*self.target.shape, self.classes))
        code = f"-{self.code.digest[:12]}" if self.code else ""
        return f"{self.name}-{shape}-{outputs}{code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Sizes of a network, for one sample where it depends on samples.

    parameters: trainable parameters; activations: elements of the layers' outputs that a training
    step keeps for its backward pass, input included; outputs: elements of all layers' outputs;
    largest: elements of the largest output; layers: how many there are; multiply_adds: of the
    forward pass; constants: what else a state holds of a model, such as frozen weights.
    """

    parameters: int
    activations: int
    outputs: int
    largest: int
    layers: int
    multiply_adds: int
    constants: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedSteps:
    """What training steps of a network took on this machine, in CPU seconds of one thread.

    batch_size: samples of each; step_s: one of them; trace_s: the first one beyond that, None where
    that was not measured.
    """

    batch_size: int
    step_s: float
    trace_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMemory:
    """What calls of a compiled network take beside their arguments, in bytes.

    train_bytes: of a training step; score_bytes: of scoring a batch.
    """

    train_bytes: int
    score_bytes: int
