"""The `evaluate` action: a model file over samples, to class probabilities."""

from disdel.worker.tasks import EvaluateAction

main = EvaluateAction()
