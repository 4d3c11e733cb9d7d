"""Keras's Adam with its update in one kernel. Imports Keras and TensorFlow; import it lazily.

Written out, Adam is a dozen element-wise operations over every parameter, a fifth of the default
network's training step on a CPU; TensorFlow's `ResourceApplyAdam` does the same in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras ships no types
    """Adam (Kingma and Ba, 2015, section 2, with the bias corrections folded into the step size).

    State and results are those of `keras.optimizers.Adam` without `amsgrad`, to rounding.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update `variable` and its two moments for a `gradient` of its shape."""
        # The backend unwraps the variable before it calls; a user of the class may not.
        target = variable.value if isinstance(variable, keras.Variable) else variable
        self._update(gradient, target, self._numbers(learning_rate, target.dtype))

    def _backend_update_step(
        self, gradients: Sequence[Any], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """As Keras's own, without TensorFlow's strategies for many devices.

        These call `update_step` once a variable, and what is the same for all of them would be
        traced and computed as often.
        """
        numbers: dict[Any, dict[str, Any]] = {}
        for gradient, variable in zip(gradients, variables, strict=True):
            target = variable.value if isinstance(variable, keras.Variable) else variable
            if target.dtype not in numbers:
                numbers[target.dtype] = self._numbers(learning_rate, target.dtype)
            self._update(gradient, target, numbers[target.dtype])

    def _numbers(self, learning_rate: Any, dtype: Any) -> dict[str, Any]:
        """What a step has for all variables of a dtype, by the names of TensorFlow's kernel."""
        step = tf.cast(self.iterations.value + 1, dtype)
        beta1, beta2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        return {
            "beta1_power": tf.pow(beta1, step),
            "beta2_power": tf.pow(beta2, step),
            "lr": tf.cast(learning_rate, dtype),
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": tf.cast(self.epsilon, dtype),
        }

    def _update(self, gradient: Any, target: Any, numbers: Mapping[str, Any]) -> None:
        index = self._get_variable_index(target)
        tf.raw_ops.ResourceApplyAdam(
            var=target.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            # That of an embedding comes as the rows that were looked up.
            grad=tf.cast(tf.convert_to_tensor(gradient), target.dtype),
            **numbers,
        )
