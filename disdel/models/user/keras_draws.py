"""What a user's Keras network draws at random by operations that no seed repeats."""

from __future__ import annotations

import re
from typing import Any

# TensorFlow ships no types.
Graph = Any

# Operations with a state of their own, which begins where a graph is made, and those of
# `tf.random.Generator`.
_DRAWING = re.compile(
    "Random|Multinomial|TruncatedNormal|ParameterizedTruncatedNormal|SampleDistorted"
    "|Stateful(?!Partitioned)|Rng|.*CandidateSampler|NonDeterministic"
)


def other_draws(graphs: list[Graph]) -> list[str]:
    """The kinds of TensorFlow's own operations in graphs that draw at random, each once."""
    kinds = {operation.type for graph in graphs for operation in graph.get_operations()}
    for graph in graphs:
        for function in graph.as_graph_def().library.function:
            kinds |= {node.op for node in function.node_def}
    return sorted(kind for kind in kinds if _DRAWING.match(kind))
