"""Flower's simulation with FedAvg, a client on each CPU at a time.

Prints one JSON object on its last line: seconds from one average to the next. Runs with the Python
of an environment that has `flwr[simulation]` and PyTorch.
"""

import argparse
import json
import time
from itertools import pairwise

import networks
import torch
from flower_client import client_app
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from settings import SETTINGS


class Timed(FedAvg):
    """FedAvg that notes when each average was there."""

    def __init__(self, **options):
        super().__init__(**options)
        self.averaged_s = []

    def aggregate_train(self, server_round, replies):
        averaged = super().aggregate_train(server_round, replies)
        if averaged[0] is None:
            raise RuntimeError(f"nobody answered in round {server_round}")
        self.averaged_s.append(time.perf_counter())
        return averaged


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("npz")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    torch.manual_seed(options.seed)
    model = getattr(networks, setting.network)()
    strategy = Timed(
        fraction_train=setting.cohort / setting.clients,
        fraction_evaluate=0.0,
        min_available_nodes=setting.clients,
    )
    server_app = ServerApp()
    began_s = time.perf_counter()

    @server_app.main()
    def serve(grid, _context):
        config = {"setting": options.setting, "npz": options.npz, "seed": options.seed}
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            num_rounds=options.rounds,
            train_config=ConfigRecord(config),
        )

    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=setting.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    ends_s = [began_s, *strategy.averaged_s]
    if len(ends_s) != options.rounds + 1:
        raise SystemExit(f"{len(ends_s) - 1} of {options.rounds} rounds ended")
    rounds_s = [later - before for before, later in pairwise(ends_s)]
    print(json.dumps({"rounds_s": rounds_s}))


if __name__ == "__main__":
    main()
