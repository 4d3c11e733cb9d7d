"""Keras 3 on TensorFlow, as a runtime. Imports neither."""

from disdel.runtimes.runtime import Runtime, UserNetworks
from disdel.types.costs import RuntimeCosts

TENSORFLOW = Runtime(
    costs=RuntimeCosts(
        name="tensorflow",
        anonymous_mb=210,
        mapped_mb=168,
        import_s=2.4,
        cold_start_s=3.5,
        trace_s=0.3,
        trace_layer_s=0.03,
        step_overhead_s=0.4e-3,
        activations_per_s=0.75e9,
        multiply_adds_per_s=54e9,
        thread_exponent=0.45,
        bfloat16_share=0.7,
        trial_steps=20,
        trial_traces=False,
    ),
    networks="disdel.models.keras_networks",
    image="runtime-tensorflow",
    environment={"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    imports="keras",
    modules=("keras", "tensorflow"),
    # It has another name where it is built for CPUs alone.
    distributions=("tensorflow", "tensorflow-cpu"),
    packages=("tensorflow", "tensorflow-cpu", "keras"),
    not_in_image=("IPython", "jax", "matplotlib", "pandas", "PIL", "scipy", "sklearn", "torch"),
    library=("tensorflow", "libtensorflow_cc.so.2"),
    measured_build="tensorflow-cpu",
    model_suffix=".keras",
    precisions=("float32", "bfloat16"),
    learns_axes=True,
    users=UserNetworks(
        packages=("keras", "tensorflow"), kind="Keras model", needed="an uncompiled keras.Model"
    ),
    described_by="disdel.models.user.describe_keras",
)
