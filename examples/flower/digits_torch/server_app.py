"""A ServerApp of the message API; the result goes to the file `out`, as JSON."""

import hashlib
import json
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits_torch.task import make, samples, test

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    net = make(config["seed"])
    result = FedAvg(fraction_train=config["fraction-train"]).start(
        grid=grid,
        initial_arrays=ArrayRecord(net.state_dict()),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
    )
    net.load_state_dict(result.arrays.to_torch_state_dict())
    loss, accuracy = test(net, *samples(-1, config["seed"]))
    digest = hashlib.sha256()
    for tensor in net.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    told = {"loss": loss, "accuracy": accuracy, "weights": digest.hexdigest()}
    told["train"] = {n: dict(m) for n, m in result.train_metrics_clientapp.items()}
    print(json.dumps(told))
    if config["out"]:
        Path(config["out"]).write_text(json.dumps(told))
