"""What the time of a training step hangs on, without the graph of one. Imports Keras when called.

To trace a step takes ten times as long as a trial of its precision needs. Of a network of dense and
convolutional layers that follow each other, the products alone tell as much: called one by one,
they need no graph (docs/measurements.md compares both).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from disdel.types.names import Precision

# Neither Keras nor TensorFlow ships types.
KerasModel = Any
Layer = Any
Tensor = Any


def products_of(model: KerasModel, batch: int) -> Callable[[Precision], object] | None:
    """The products of a training step: of each layer, and for the gradients of both factors.

    What is returned takes those of one step in a precision, of arbitrary values. It holds each
    layer's inputs and outputs, and changes nothing.

    Args:
        model: of layers that follow each other.
        batch: samples of a step.

    Returns:
        None where a layer with weights is of another kind, whose time they would say nothing of.
    """
    import keras

    layers = [layer for layer in model._flatten_layers() if layer.weights]
    layers = [layer for layer in layers if not isinstance(layer, keras.Model)]
    if not layers or not all(map(_is_plain, layers)):
        return None
    prepared: dict[Precision, list[Callable[[], object]]] = {}

    def take(precision: Precision) -> None:
        if precision not in prepared:
            # The last layer computes in float32 in either, as `mixed_bfloat16` has it.
            computed = [*[precision] * (len(layers) - 1), "float32"]
            prepared[precision] = [
                _products(layer, batch, dtype, is_first=layer is layers[0])
                for layer, dtype in zip(layers, computed, strict=True)
            ]
        for multiply in prepared[precision]:
            multiply()

    return take


def _is_plain(layer: Layer) -> bool:
    import keras

    if type(layer) is keras.layers.Dense:
        return len(layer.input.shape) == 2
    return (
        type(layer) is keras.layers.Conv2D
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and set(layer.dilation_rate) == {1}
    )


def _products(layer: Layer, batch: int, dtype: str, *, is_first: bool) -> Callable[[], object]:
    """Those of one layer, from and to float32 kernels, that compute in `dtype`."""
    import tensorflow as tf

    kernel = layer.kernel.value
    x = tf.ones((batch, *layer.input.shape[1:]), dtype)
    gradient = tf.ones((batch, *layer.output.shape[1:]), dtype)
    multiply = _dense if len(kernel.shape) == 2 else partial(_convolution, layer=layer)

    def take() -> Tensor:
        return tf.cast(multiply(x, tf.cast(kernel, dtype), gradient, is_first=is_first), tf.float32)

    return take


def _dense(x: Tensor, kernel: Tensor, gradient: Tensor, *, is_first: bool) -> Tensor:
    import tensorflow as tf

    tf.matmul(x, kernel)
    if not is_first:  # Nobody asks for the gradient of samples.
        tf.matmul(gradient, kernel, transpose_b=True)
    return tf.matmul(x, gradient, transpose_a=True)


def _convolution(
    x: Tensor, kernel: Tensor, gradient: Tensor, *, is_first: bool, layer: Layer
) -> Tensor:
    import tensorflow as tf

    how = {"strides": [1, *layer.strides, 1], "padding": layer.padding.upper()}
    # Of TensorFlow itself: Keras has XLA compile each.
    tf.raw_ops.Conv2D(input=x, filter=kernel, **how)
    if not is_first:
        tf.raw_ops.Conv2DBackpropInput(
            input_sizes=x.shape, filter=kernel, out_backprop=gradient, **how
        )
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=kernel.shape, out_backprop=gradient, **how
    )
