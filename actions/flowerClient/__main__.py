"""The `flowerClient` action: a Flower app's ClientApp answers one message."""

from disdel.worker.flower_client import FlowerClientAction

main = FlowerClientAction()
