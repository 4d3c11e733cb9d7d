"""What a compiled network is trained and scored for, sample by sample. Imports Keras on JAX.

TensorFlow's trainer takes means over a batch. Here some samples only fill a batch up, so losses and
metrics are told for each sample, and the step weighs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import keras

from disdel.compiler.kernels import binary_cross_entropy, cross_entropy
from disdel.errors import UsageError
from disdel.types import Target

# Neither Keras nor JAX has useful types for these.
JaxArray = Any
Measure = Callable[[JaxArray, JaxArray], JaxArray]

# What makes probabilities of logits.
ACTIVATIONS: Mapping[Target, Any] = {
    "class": keras.activations.softmax,
    "binary": keras.activations.sigmoid,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a network learns of a sample, and by what it is judged.

    Attributes:
        target: what it learns.
        gives_probabilities: whether its outputs are probabilities; else, for classes, logits.
        loss: the user's own, of the outputs; None for the usual one of the target.
        metrics: further ones by name, of probabilities or numbers.
        loss_unit: as that of `disdel.runtimes.keras.recipe.KerasRecipe`.

    Loss and metrics are functions of the targets, class numbers (batch,) int32 or (batch, 1)
    float32, and of (batch, outputs). They give a value for each sample.
    """

    target: Target
    gives_probabilities: bool
    loss: Measure | None = None
    metrics: Mapping[str, Measure] = field(default_factory=dict)
    loss_unit: float = 1.0

    def losses(self, y: JaxArray, outputs: JaxArray) -> JaxArray:
        """The loss of each sample, (batch,), of labels (batch,) and what the network gives."""
        if self.loss is not None:
            return _by_sample("loss", self.loss(self._wanted(y), outputs), len(y))
        if self.target == "number":
            return jnp.square(outputs[:, 0] - y)
        if self.gives_probabilities:
            # As Keras on TensorFlow takes it of probabilities.
            epsilon = keras.config.epsilon()
            outputs = jnp.clip(outputs, epsilon, 1 - epsilon)
        if self.target == "class":
            return cross_entropy(y, jnp.log(outputs) if self.gives_probabilities else outputs)
        if self.gives_probabilities:
            outputs = jnp.log(outputs) - jnp.log1p(-outputs)
        return binary_cross_entropy(y, outputs[:, 0])

    def hits(self, y: JaxArray, outputs: JaxArray) -> JaxArray:
        """Whether each sample is classified correctly, (batch,); none is where there are no
        classes.
        """
        if self.target == "number":
            return jnp.zeros(y.shape, bool)
        if self.target == "class":
            return jnp.argmax(outputs, axis=1).astype(jnp.int32) == y
        return (outputs[:, 0] > (0.5 if self.gives_probabilities else 0.0)) == (y > 0)

    def measures(self, y: JaxArray, outputs: JaxArray) -> list[JaxArray]:
        """Each metric of each sample, (batch,)."""
        if not self.gives_probabilities and self.target in ACTIVATIONS:
            outputs = ACTIVATIONS[self.target](outputs)
        wanted = self._wanted(y)
        return [
            _by_sample(f"metric {name}", metric(wanted, outputs), len(y))
            for name, metric in self.metrics.items()
        ]

    def _wanted(self, y: JaxArray) -> JaxArray:
        return y if self.target == "class" else y.astype(jnp.float32)[:, None]


def recipe_for(target: Target, *, gives_probabilities: bool) -> Recipe:
    """As `disdel.runtimes.keras.recipe.recipe_for`."""
    metrics = {"mean_absolute_error": keras.losses.mean_absolute_error}
    return Recipe(
        target=target,
        gives_probabilities=gives_probabilities,
        metrics=metrics if target == "number" else {},
    )


def _by_sample(name: str, values: JaxArray, samples: int) -> JaxArray:
    """The values of a loss or metric, (batch,).

    Raises:
        UsageError: there is not one for each sample.
    """
    values = jnp.asarray(values, jnp.float32)
    if values.shape[:1] != (samples,):
        raise UsageError(
            f"{name} gives {tuple(values.shape)} for {samples} samples, and a compiled step weighs "
            "samples, of which some only fill up a batch: return a value for each"
        )
    return values.reshape(samples, -1).mean(1)
