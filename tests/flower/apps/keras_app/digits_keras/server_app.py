"""A ServerApp of the older API: a Strategy; the result goes to the file `out`, as JSON."""

import json
from pathlib import Path

from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

from digits_keras.task import make, samples


def weighted(metrics):
    total = sum(count for count, _ in metrics)
    return {"accuracy": sum(count * m["accuracy"] for count, m in metrics) / total}


def server_fn(context: Context):
    config = context.run_config
    model = make(config["seed"], config["learning-rate"])
    x, y = samples(-1, config["seed"])

    def evaluate(server_round, parameters, _):
        model.set_weights(parameters)
        loss, accuracy = model.evaluate(x, y, verbose=0)
        told = {"round": server_round, "loss": float(loss), "accuracy": float(accuracy)}
        print(json.dumps(told))
        if config["out"]:
            Path(config["out"]).write_text(json.dumps(told))
        return loss, {"accuracy": accuracy}

    strategy = FedAvg(
        initial_parameters=ndarrays_to_parameters(model.get_weights()),
        on_fit_config_fn=lambda server_round: {"round": server_round},
        evaluate_fn=evaluate,
        evaluate_metrics_aggregation_fn=weighted,
    )
    rounds = ServerConfig(num_rounds=config["num-server-rounds"])
    return ServerAppComponents(strategy=strategy, config=rounds)


app = ServerApp(server_fn=server_fn)
