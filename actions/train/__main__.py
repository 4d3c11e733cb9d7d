"""The `train` action: one segment of one worker's round, or a score of the average."""

from disdel.worker.tasks import TrainAction

main = TrainAction()
