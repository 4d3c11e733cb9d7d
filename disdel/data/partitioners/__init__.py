"""How the training samples are dealt to clients: partitioners by name, each one function."""

from disdel.data.partitioners import built_in  # noqa: F401  # registers them
from disdel.data.partitioners.partition import Partition
from disdel.data.partitioners.registry import Asked, partitioner, partitioner_names

__all__ = ["Asked", "Partition", "partitioner", "partitioner_names"]
