"""What a runtime costs before it does any work, as measured.

The shipped figures stand beside each runtime (`disdel.runtimes`). They serve until there are
observations of the platform at hand, which `planner/calibration.py` then puts in their place.
`docs/measurements.md` has the figures and how they were taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from disdel.types.names import RuntimeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a train action holds at once, fitted to the working sets of containers.

    Attributes:
        weight_copies: of the weights: the variables, their gradients and the optimizer's state
            (Adam's two), or in place of the gradients a state on its way to the store or from it;
            and what loading and storing one every round leaves unused, reached by the sixth round.
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
class RuntimeCosts:
    """The measured costs of a runtime, and what a plan may do with it.

    Attributes:
        name: as users write it.
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
        bfloat16_share: of its time a step takes where a trial may choose bfloat16 and the processor
            has it.
        trial_steps: as long as so many steps a trial of precisions takes.
        trial_traces: whether it traces the network.
        held: what its train actions hold beside the floor.
        held_to_evaluate: the same for its evaluate actions.
    """

    name: RuntimeName
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
    bfloat16_share: float = 1.0
    trial_steps: int = 32
    trial_traces: bool = True
    held: Held = Held()
    held_to_evaluate: HeldToEvaluate = HeldToEvaluate()
    cuts_batches: bool = True
    uses_gpu: bool = True

    @property
    def floor_mb(self) -> float:
        """Memory before any samples."""
        return self.anonymous_mb + self.mapped_mb
