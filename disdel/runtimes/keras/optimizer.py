"""A Keras optimizer as a trainer drives it: its rate, its state, and what it leaves to `fit`.

Imports Keras when called. Three things of an optimizer are not in its `apply`: the loss is scaled
before the gradients are taken, a schedule is asked for the learning rate, and a moving average of
the weights takes their place at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from disdel.errors import UsageError
from disdel.runtimes.base import OPTIMIZER_PREFIX
from disdel.types.arrays import Array

# Neither Keras nor TensorFlow ships types.
KerasOptimizer = Any
KerasSchedule = Any
Variable = Any
Tensor = Any

# The weights' moving average is averaged with the weights, whatever becomes of the optimizer.
_AVERAGES_PREFIX = "model/average/"
# Of a variable's values; weights that are drawn differ among fewer.
_LOOKED_AT = 1000


class DrivenOptimizer:
    """An optimizer of some variables.

    Args:
        optimizer: not built yet.
        learning_rate: None for its own, which may follow a schedule.
        variables: what it trains.

    Raises:
        UsageError: what it remembers does not begin as one number a variable.
    """

    def __init__(
        self, optimizer: KerasOptimizer, learning_rate: float | None, variables: Sequence[Variable]
    ) -> None:
        self._optimizer = optimizer
        self._trained = list(variables)
        # Of one that scales losses, the one that updates.
        scales = hasattr(optimizer, "inner_optimizer")
        self._inner = optimizer.inner_optimizer if scales else optimizer
        self._schedule: KerasSchedule | None = None
        own = self._inner._learning_rate
        if callable(own):
            # Of a number, Keras makes a variable; a schedule cannot be set.
            self._schedule = own if learning_rate is None else None
            self._inner._learning_rate = self._inner.add_variable((), name="learning_rate")
        if learning_rate is not None:
            optimizer.learning_rate = learning_rate
        self._learning_rate = np.float32(1 if self._schedule else optimizer.learning_rate)
        optimizer.build(self._trained)
        self._averages: list[Variable] = []
        if self._inner.use_ema:
            self._averages = self._inner._model_variables_moving_average
            for average, variable in zip(self._averages, self._trained, strict=True):
                # Its first step forgets this; without one, it is the average.
                average.assign(variable)
        self._first_values = [self._first_value(v) for v in self.variables().values()]

    def _first_value(self, variable: Variable) -> Any:
        """The number that a variable of the optimizer's begins as, throughout."""
        first = np.ravel(variable)[:_LOOKED_AT]
        if (first != first[:1]).any():
            raise UsageError(
                f"{type(self._inner).__name__} cannot be used: its {variable.path} begins as more "
                "than one number, and is begun anew as one; use another optimizer"
            )
        return first[0] if len(first) else 0

    def scaled(self, loss: Tensor) -> Tensor:
        """What gradients are to be taken of: a scalar, as `loss` is one."""
        return self._optimizer.scale_loss(loss)

    def apply(self, gradients: Sequence[Tensor | None], rate_factor: Tensor) -> None:
        """Update for one gradient a variable; those without one stay as they are.

        Args:
            gradients: of the scaled loss, in the variables' shapes.
            rate_factor: a scalar that the learning rate is multiplied by.
        """
        rate = rate_factor * self._learning_rate
        if self._schedule is not None:
            rate = rate * self._scheduled(self._schedule)
        self._optimizer.learning_rate = rate
        self._optimizer.apply(gradients, self._trained)

    def _scheduled(self, schedule: KerasSchedule) -> Tensor:
        import keras

        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return schedule(self._inner._iterations)
        return schedule()  # Keras takes any function for a rate

    def variables(self) -> dict[str, Variable]:
        """What the optimizer's part of a state holds, by name."""
        own = [v for v in self._optimizer.variables if not self._is_average(v)]
        return {f"{OPTIMIZER_PREFIX}{i:04d}/{v.path}": v for i, v in enumerate(own)}

    def averages(self) -> dict[str, Variable]:
        """The weights' moving average, by name; none where there is none."""
        return {f"{_AVERAGES_PREFIX}{i:04d}/{v.path}": v for i, v in enumerate(self._averages)}

    def _is_average(self, variable: Variable) -> bool:
        return any(variable is average for average in self._averages)

    def fresh(self) -> dict[str, Array]:
        """`variables` before the first step, in their shapes and the memory of one number each."""
        return {
            name: np.broadcast_to(first, variable.shape)
            for (name, variable), first in zip(
                self.variables().items(), self._first_values, strict=True
            )
        }

    @contextmanager
    def final_weights(self) -> Iterator[None]:
        """Within, variables have the values that Keras leaves at the end of a training."""
        if not self._averages:
            yield
            return
        before = [np.array(variable) for variable in self._trained]
        self._optimizer.finalize_variable_values(self._trained)
        try:
            yield
        finally:
            for variable, value in zip(self._trained, before, strict=True):
                variable.assign(value)
