"""What a runtime costs before it does any work, as measured.

The constants serve until there are observations of the platform at hand, which `calibration` then
puts in their place. `docs/measurements.md` has the figures and how they were taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from disdel.types import RuntimeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a train action holds at once, fitted to the working sets of containers.

    Attributes:
        weight_copies: of the weights: the variables, their gradients and the optimizer's two slots
            (Adam's), or in place of the gradients a state on its way to the store or from it; and
            what loading and storing one every round leaves unused, reached by the sixth round.
        outputs: how often all layers' outputs are held in a training step, where that is more than
            what is kept for the backward pass.
        layer_mb: what a traced graph takes a layer, beyond what the floor has of it.
        tracing_anonymous_mb: what building and tracing a network add to a framework that was only
            imported: anonymous memory,
        tracing_mapped_mb: and library code that is mapped as it is first run.
    """

    weight_copies: int = 9
    outputs: float = 0.0
    layer_mb: float = 0.7
    tracing_anonymous_mb: float = 20
    tracing_mapped_mb: float = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldToEvaluate:
    """What an evaluate action holds at once.

    Attributes:
        file_copies: of the model's file: what the loaded model keeps,
        loading_copies: and what reading the file takes on top, before the first batch.
        largest_copies: of the largest output of a layer for a batch: what is held of it, of the
            layers around it, and of freed ones.
    """

    file_copies: int = 4
    loading_copies: int = 3
    largest_copies: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime image and its measured costs.

    Attributes:
        name: as users write it.
        modules: what must be importable where its actions run.
        image: the name of its actions' container image, without prefix and tag; "" for the
            platform's own Python, which has no framework.
        model_suffix: of the files of its trained models.
        cuts_batches: whether its steps hold less where a batch is cut into parts.
        uses_gpu: whether its actions compute on a GPU where they see one.
        anonymous_mb: anonymous memory of a container that has imported the framework, built a
            network of no size and traced its training step.
        mapped_mb: library pages that it has mapped by then and goes on using.
        import_s: importing the framework, on an idle machine.
        cold_start_s: from the request to the first training step.
        trace_s: what the first step of a network takes beyond a step, in which it is traced.
        trace_layer_s: the same for each of its layers.
        step_overhead_s: of a training step, whatever the network.
        activations_per_s: elements of layers' outputs that one CPU thread takes through a training
            step, its multiplications apart.
        multiply_adds_per_s: of one CPU thread in a training step.
        thread_exponent: `n` threads are `n**thread_exponent` times as fast as one.
        held: what its train actions hold beside the floor.
        held_to_evaluate: the same for its evaluate actions.
    """

    name: RuntimeName
    image: str
    model_suffix: str
    modules: tuple[str, ...]
    anonymous_mb: float
    mapped_mb: float
    import_s: float
    cold_start_s: float
    trace_s: float
    trace_layer_s: float
    step_overhead_s: float
    activations_per_s: float
    multiply_adds_per_s: float
    thread_exponent: float
    held: Held = Held()
    held_to_evaluate: HeldToEvaluate = HeldToEvaluate()
    cuts_batches: bool = True
    uses_gpu: bool = True

    @property
    def floor_mb(self) -> float:
        """Memory before any samples."""
        return self.anonymous_mb + self.mapped_mb


TENSORFLOW = Runtime(
    name="tensorflow",
    image="runtime-tensorflow",
    model_suffix=".keras",
    modules=("keras", "tensorflow"),
    anonymous_mb=210,
    mapped_mb=168,
    import_s=2.4,
    cold_start_s=2.5,
    trace_s=0.3,
    trace_layer_s=0.03,
    step_overhead_s=0.8e-3,
    activations_per_s=0.58e9,
    multiply_adds_per_s=66e9,
    thread_exponent=0.45,
)

TORCH = Runtime(
    name="torch",
    image="runtime-torch",
    model_suffix=".safetensors",
    modules=("torch",),
    anonymous_mb=175,
    mapped_mb=39,
    import_s=1.2,
    cold_start_s=1.5,
    trace_s=0.02,
    trace_layer_s=0.0,
    step_overhead_s=0.6e-3,
    activations_per_s=0.23e9,
    multiply_adds_per_s=80e9,
    thread_exponent=0.4,
    held=Held(
        weight_copies=7,
        outputs=1.2,
        layer_mb=0,
        tracing_anonymous_mb=20,
        tracing_mapped_mb=0,
    ),
    held_to_evaluate=HeldToEvaluate(file_copies=2, loading_copies=1, largest_copies=7),
)

# Training steps that the host compiles, executed by IREE's runtime.
COMPILED = Runtime(
    name="compiled",
    image="",
    model_suffix=".keras",
    modules=("async_timeout", "h5py", "iree.compiler", "iree.runtime", "jax", "keras"),
    anonymous_mb=64,
    mapped_mb=14,
    import_s=0.6,
    cold_start_s=0.8,
    trace_s=0.02,
    trace_layer_s=0.0,
    step_overhead_s=0.5e-3,
    # The multiplications of ResNet-20, the slowest beside a framework, moving its outputs included:
    # until a network was seen, `auto` does not hope.
    activations_per_s=1e12,
    multiply_adds_per_s=15e9,
    thread_exponent=0.35,
    cuts_batches=False,
    uses_gpu=False,
)

RUNTIMES: dict[RuntimeName, Runtime] = {
    runtime.name: runtime for runtime in (TENSORFLOW, TORCH, COMPILED)
}


def runtime_of(model: Path) -> Runtime:
    """The runtime whose containers open a model file, by the file's suffix.

    Raises:
        LookupError: none of them does.
    """
    for runtime in RUNTIMES.values():
        if runtime.image and runtime.model_suffix == model.suffix:
            return runtime
    raise LookupError(model.suffix)


# collectWeights: Python, numpy, the Redis client and the proxy.
BASE_IMAGE = "runtime-base"
BASE_FLOOR_MB = 56
