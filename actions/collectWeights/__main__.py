"""The `collectWeights` action: the updates of a round become the averaged model."""

from disdel.worker.tasks import collect_weights

main = collect_weights
