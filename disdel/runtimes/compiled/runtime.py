"""Training steps that the host compiles, executed by IREE's runtime. Imports neither."""

from disdel.runtimes.runtime import Runtime
from disdel.types.costs import RuntimeCosts

COMPILED = Runtime(
    costs=RuntimeCosts(
        name="compiled",
        anonymous_mb=64,
        mapped_mb=14,
        import_s=0.6,
        cold_start_s=1.6,
        trace_s=0.02,
        trace_layer_s=0.0,
        step_overhead_s=0.5e-3,
        # The multiplications of ResNet-20, the slowest beside a framework, moving its outputs
        # included: until a network was seen, `auto` does not hope.
        activations_per_s=1e12,
        multiply_adds_per_s=15e9,
        thread_exponent=0.35,
        cuts_batches=False,
        uses_gpu=False,
    ),
    networks="disdel.runtimes.compiled.networks",
    image="",
    imports="iree.runtime",
    modules=("async_timeout", "h5py", "iree.compiler", "iree.runtime", "jax", "keras"),
    distributions=("iree-base-compiler",),
    packages=("iree-base-runtime",),
    # The host fills in what it has kept of Keras's file when it compiled the network.
    model_suffix=".keras",
    opens_models=False,
    # What predicts numbers is compiled when that is asked for.
    chosen_for=("class",),
    lowers=("tensorflow",),
    compiles=True,
)
