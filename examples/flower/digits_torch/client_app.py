"""A ClientApp of the message API that counts its rounds in its state."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_torch.task import make, samples, test, train

torch.set_num_threads(1)
app = ClientApp()


@app.train()
def train_it(message: Message, context: Context) -> Message:
    seed, partition = context.run_config["seed"], context.node_config["partition-id"]
    net = make(seed)
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    kept = context.state.config_records.setdefault("kept", ConfigRecord({"rounds": 0}))
    kept["rounds"] += 1
    x, y = samples(partition, seed)
    rate, epochs = message.content["config"]["lr"], context.run_config["local-epochs"]
    loss = train(net, x, y, epochs, rate, seed + 100 * kept["rounds"] + partition)
    metrics = {"train_loss": loss, "num-examples": len(x), "rounds": kept["rounds"]}
    content = {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate_it(message: Message, context: Context) -> Message:
    seed, partition = context.run_config["seed"], context.node_config["partition-id"]
    net = make(seed)
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = samples(partition, seed)
    loss, accuracy = test(net, x, y)
    metrics = MetricRecord({"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(x)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
