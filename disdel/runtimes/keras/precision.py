"""A Keras model whose training steps compute in bfloat16. Imports Keras when called.

Its layers are float32 layers and are saved as such: for the call alone they take Keras's policy
`mixed_bfloat16`, which casts inputs and variables on their way in. A gradient comes back through
these casts, so it is float32 again. bfloat16 has the range of float32, so no loss is scaled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Keras ships no types.
KerasModel = Any


@contextmanager
def mixed_bfloat16(model: KerasModel) -> Iterator[None]:
    """Inside, the layers of `model` compute in bfloat16, all but the last, where a softmax is.

    Layers that the user gave another policy than Keras's default keep theirs, and so does what
    stands around the network: numbers are standardised, and brought back to their units, in
    float32.
    """
    import keras

    outermost: set[int] = set()
    last = model
    while inner := getattr(last, "layers", None):
        last = inner[-1]
        if isinstance(last, keras.layers.Rescaling) and len(inner) > 1:
            outermost.add(id(last))
            last = inner[-2]
    outermost.add(id(last))
    layers = [
        layer
        for layer in model._flatten_layers()  # Keras gives those inside of layers in no other way
        if id(layer) not in outermost
        and not isinstance(layer, keras.layers.Normalization)
        and layer.dtype_policy.name == "float32"
    ]
    before = [layer.dtype_policy for layer in layers]
    # Models of Keras's own only pass on what they are given. They are not to cast samples, which
    # may be numbers of things: bfloat16 tells no two beyond 256 apart. Layers cast what they take.
    passing = [
        layer
        for layer in layers
        if isinstance(layer, keras.Model)
        and type(layer).__module__.startswith("keras.")
        and layer.autocast
    ]
    for layer in layers:
        layer.dtype_policy = "mixed_bfloat16"
    for layer in passing:
        layer.autocast = False
    try:
        yield
    finally:
        for layer in passing:
            layer.autocast = True
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy
