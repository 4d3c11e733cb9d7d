"""Random numbers of a training step, as a function of its seed.

Keras draws them from `keras.random.SeedGenerator`s, whose states are variables that go on from draw
to draw. Whoever starts from one state would draw the same: all clients of a round, and all workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Neither Keras nor TensorFlow ships types.
Variable = Any
Tensor = Any

# So many draws of one generator in a step come before those of the next one.
_DRAWS = 1 << 20


def is_generator(variable: Variable) -> bool:
    """Whether a variable of a model, of any shape, is the state of a generator."""
    return bool(variable.name == "seed_generator_state")


@contextmanager
def drawn_from() -> Iterator[list[Variable]]:
    """The states of the generators that are drawn from inside, (2,) int64, in the order of that.

    Those of a model's layers are among them, those of other code, and Keras's own for draws without
    a seed.
    """
    import keras

    states: list[Variable] = []
    original = keras.random.SeedGenerator.next

    def noting(generator: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not any(generator.state is state for state in states):
            states.append(generator.state)
        return original(generator, *args, **kwargs)

    keras.random.SeedGenerator.next = noting
    try:
        yield states
    finally:
        keras.random.SeedGenerator.next = original


class Draws:
    """The generators that a step's random numbers come from.

    Attributes:
        states: of the generators, (2,) int64 each. A graph would take bare variables among its
            arguments for such.
    """

    def __init__(self, states: Sequence[Variable]) -> None:
        self.states = list(states)

    def begin(self, seed: Tensor) -> None:
        """Have what comes next follow from `seed`, of shape (), int64; each gives other."""
        import tensorflow as tf

        for number, state in enumerate(self.states):
            state.assign(tf.stack([seed, tf.constant(number * _DRAWS, tf.int64)]))

    def add(self, states: Sequence[Variable]) -> bool:
        """Take further ones; says whether there were any."""
        known = {id(state) for state in self.states}
        further = [state for state in states if id(state) not in known]
        self.states += further
        return bool(further)
