"""The `collectWeights` action: the updates of a round become the ensemble's weights."""

from disdel.worker.tasks import collect_weights

main = collect_weights
