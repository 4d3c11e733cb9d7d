"""Keras's cross-entropies on JAX as it has them on TensorFlow. Imports Keras on JAX.

There Keras remembers what a softmax or sigmoid was given, and takes the cross-entropy of that,
whatever the loss says of its outputs. JAX's tracers remember nothing: a probability that is rounded
to 0 or 1 would have no gradient, and with `from_logits=True` a softmax would count twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import jax.numpy as jnp
import keras
from keras.src import backend, ops
from keras.src.activations import activations

# JAX has no useful types for these.
JaxArray = Any
Activation = Callable[..., JaxArray]


@contextmanager
def of_logits() -> Iterator[None]:
    """Within, cross-entropies of what a softmax or sigmoid gave within are of what it was given."""
    made_of: dict[int, tuple[JaxArray, JaxArray, tuple[str, ...]]] = {}

    def noting(activation: Activation, *kinds: str) -> Activation:
        def noted(x: JaxArray, *args: Any, **kwargs: Any) -> JaxArray:
            given = activation(x, *args, **kwargs)
            made_of[id(given)] = given, x, kinds
            return given

        return noted

    def looked_up(kind: str, given: JaxArray, from_logits: bool) -> tuple[JaxArray, bool]:
        _, logits, kinds = made_of.get(id(given), (None, None, ()))
        return (logits, True) if kind in kinds else (given, from_logits)

    on_jax = SimpleNamespace(**vars(backend.nn))

    def categorical(
        wanted: JaxArray, given: JaxArray, from_logits: bool = False, axis: int = -1
    ) -> JaxArray:
        given, from_logits = looked_up("softmax", given, from_logits)
        return on_jax.categorical_crossentropy(wanted, given, from_logits, axis)

    def sparse(
        wanted: JaxArray, given: JaxArray, from_logits: bool = False, axis: int = -1
    ) -> JaxArray:
        given, from_logits = looked_up("softmax", given, from_logits)
        if not from_logits:
            epsilon = keras.config.epsilon()
            given = jnp.log(jnp.clip(given, epsilon, 1 - epsilon))
        return on_jax.sparse_categorical_crossentropy(wanted, given, True, axis)

    def binary(wanted: JaxArray, given: JaxArray, from_logits: bool = False) -> JaxArray:
        given, from_logits = looked_up("sigmoid", given, from_logits)
        return on_jax.binary_crossentropy(wanted, given, from_logits)

    # An operation has only the cross-entropy of its own kind, an activation has all of them.
    both = ("softmax", "sigmoid")
    of_activations = {name: noting(getattr(ops, name), *both) for name in both}
    shown = SimpleNamespace(**{**vars(ops), **of_activations})
    changed = {
        "softmax": noting(on_jax.softmax, "softmax"),
        "sigmoid": noting(on_jax.sigmoid, "sigmoid"),
        "categorical_crossentropy": categorical,
        "sparse_categorical_crossentropy": sparse,
        "binary_crossentropy": binary,
    }
    with ExitStack() as patched:
        patched.enter_context(patch.object(activations, "ops", shown))
        for name, function in changed.items():
            patched.enter_context(patch.object(backend.nn, name, function))
        yield
