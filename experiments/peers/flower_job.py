"""Flower's simulation: FedAvg over two clients, one local epoch a round.

Prints one JSON object on its last line: the accuracy on the test split, after the last round only.
Runs with the Python of an environment that has `flwr[simulation]` and TensorFlow.
"""

import argparse
import json

import keras
import numpy as np
from flower_client import build_model, client_app
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with np.load(options.npz) as data:
        x_test, y_test = data["x_test"], data["y_test"]
    keras.utils.set_random_seed(options.seed)
    model = build_model(x_test.shape[1:])
    server_app = ServerApp()

    @server_app.main()
    def serve(grid, _context):
        strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0)
        config = {"npz": options.npz, "batch": options.batch, "seed": options.seed}
        result = strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(model.get_weights()),
            num_rounds=options.epochs,
            train_config=ConfigRecord(config),
        )
        model.set_weights(result.arrays.to_numpy_ndarrays())

    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=options.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(json.dumps({"accuracy": accuracy}))


if __name__ == "__main__":
    main()
