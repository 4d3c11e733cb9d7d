"""What a process computes on: the first GPU that its framework sees, or the CPU.

`memory_mb` is what the tensors of this process may take of the GPU, as a plan says: 0 keeps it off
the GPU, None leaves it what it finds free. CUDA itself takes its own beside that. Imports a
framework when called.
"""

from __future__ import annotations

from typing import Any

from disdel.types.units import MIB

# A `torch.device`; PyTorch's types are not loaded.
TorchDevice = Any


def choose_keras_device(memory_mb: int | None) -> None:
    """Let TensorFlow compute on the GPU, or not.

    It is said before the first operation of a process; a warm container says the same again.

    Raises:
        RuntimeError: TensorFlow has begun with something else.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    tf.config.set_visible_devices([] if memory_mb == 0 else gpus[:1], "GPU")
    if memory_mb is None:
        # Else the first process takes all of it.
        tf.config.experimental.set_memory_growth(gpus[0], True)
    elif memory_mb:
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_mb)
        tf.config.set_logical_device_configuration(gpus[0], [limit])


def choose_torch_device(memory_mb: int | None) -> TorchDevice:
    """Where PyTorch's modules and batches belong."""
    import torch

    if memory_mb == 0 or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", 0)
    if memory_mb is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory_mb * MIB / total), device)
    return device
