"""PyTorch as a runtime. Does not import it."""

from disdel.runtimes.runtime import Runtime, UserNetworks
from disdel.types.costs import Held, HeldToEvaluate, RuntimeCosts

TORCH = Runtime(
    costs=RuntimeCosts(
        name="torch",
        anonymous_mb=175,
        mapped_mb=39,
        import_s=1.2,
        cold_start_s=2.0,
        trace_s=0.02,
        trace_layer_s=0.0,
        step_overhead_s=0.75e-3,
        activations_per_s=0.45e9,
        multiply_adds_per_s=60e9,
        thread_exponent=0.4,
        bfloat16_share=0.87,
        held=Held(
            weight_copies=7,
            outputs=1.2,
            layer_mb=0,
            tracing_anonymous_mb=20,
            tracing_mapped_mb=0,
        ),
        held_to_evaluate=HeldToEvaluate(file_copies=2, loading_copies=1, largest_copies=7),
    ),
    networks="disdel.models.torch_networks",
    image="runtime-torch",
    # Threads that wait for another soon sleep: a neighbour may have its core.
    environment={"GOMP_SPINCOUNT": "6000"},
    imports="torch",
    modules=("torch",),
    distributions=("torch",),
    packages=("torch",),
    measured_build="torch+cpu",
    model_suffix=".safetensors",
    precisions=("float32", "bfloat16"),
    learns_axes=True,
    users=UserNetworks(packages=("torch",), kind="PyTorch module", needed="a torch.nn.Module"),
    described_by="disdel.models.user.describe_torch",
)
