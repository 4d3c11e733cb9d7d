"""Keras's Adam with its update in one kernel. Imports Keras and TensorFlow; import it lazily.

Written out, Adam is a dozen element-wise operations over every parameter, a fifth of the default
network's training step on a CPU; TensorFlow's `ResourceApplyAdam` does the same in one pass.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras ships no types
    """Adam (Kingma and Ba, 2015, section 2, with the bias corrections folded into the step size).

    State and results are those of `keras.optimizers.Adam` without `amsgrad`, to rounding.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update `variable` and its two moments for a `gradient` of its shape."""
        index = self._get_variable_index(variable)
        # The backend unwraps the variable before it calls; a user of the class may not.
        target = variable.value if isinstance(variable, keras.Variable) else variable
        dtype = target.dtype
        step = tf.cast(self.iterations.value + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=target.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            # That of an embedding comes as the rows that were looked up.
            grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        )
