"""What is left of a network when Keras and JAX have lowered it; it travels between processes.

Imports neither before a network is lowered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from disdel.compiler import CompileJob
from disdel.compiler.keras_file import TEMPLATE, write_template
from disdel.compiler.targets import has_wide_vectors, target
from disdel.protocol.program import CompileTarget, Program
from disdel.types import CallMemory

if TYPE_CHECKING:
    # It imports Keras.
    from disdel.compiler.network import LoweredNetwork

# Large enough to keep the cores busy, small enough that a convolution's patches stay in the caches.
SCORE_BATCH = 32


@dataclass(frozen=True, slots=True)
class Text:
    """A function of a program as StableHLO, for CPUs with vectors of 64 bytes or for others.

    Attributes:
        function: `train` or `score`.
        by_vectors: what is compiled, by whether vectors are as wide.
    """

    function: str
    by_vectors: Mapping[bool, bytes]

    def of(self, cpu: CompileTarget) -> bytes:
        """What is compiled for a target of the job's."""
        return self.by_vectors[has_wide_vectors(cpu)]


@dataclass(frozen=True, slots=True)
class Lowered:
    """What follows the texts of a network.

    Attributes:
        program: without what compiled modules tell, the memory and the steps.
        template: a Keras file as `disdel.compiler.keras_file` describes it.
    """

    program: Program
    template: bytes


Part = Text | Lowered


def parts_of(network: LoweredNetwork, job: CompileJob) -> Iterator[Part]:
    """Lower the network that `job` says: its texts, each as soon as it is there, and the rest.

    Raises:
        UsageError: a layer or an initializer cannot be compiled.
    """
    from disdel.compiler.steps import Steps

    steps = Steps(network, input_dtype=job.input_dtype, adds_terms=job.adds_terms)
    targets = tuple(target(name) for name in job.targets)
    # The longest first: others are lowered while it is compiled.
    for function, text_of, batch in (
        ("train", steps.train_text, job.batch_size),
        ("score", steps.score_text, SCORE_BATCH),
    ):
        kinds = set(map(has_wide_vectors, targets))
        yield Text(function, {wide: text_of(batch, wide=wide) for wide in kinds})
    program = Program(
        input_shape=job.model.input_shape,
        input_dtype=job.input_dtype,
        batch_size=job.batch_size,
        score_batch=SCORE_BATCH,
        state=steps.tensors,
        model_tensors=steps.model_tensors,
        trained=steps.trained,
        frozen=steps.frozen,
        adds_terms=job.adds_terms,
        draws=steps.draws,
        moves=steps.moves,
        classifies=network.recipe.target != "number",
        metrics=tuple(network.recipe.metrics),
        memory=CallMemory(train_bytes=0, score_bytes=0),
        targets=targets,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TEMPLATE
        write_template(network.saved, path)
        yield Lowered(program, path.read_bytes())
