"""Flower's side of a client, as its PyTorch quickstart has it; samples are read once a process."""

import networks
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from settings import SETTINGS, samples_of
from steps import train

client_app = ClientApp()


@client_app.train()
def train_client(message: Message, context: Context) -> Message:
    """Local epochs from the weights of the message."""
    given = message.content["config"]
    setting = SETTINGS[given["setting"]]
    client = context.node_config["partition-id"]
    x, y = samples_of(setting, given["npz"], client, given["seed"])
    model = getattr(networks, setting.network)()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    mean_loss = train(model, setting, x, y)
    metrics = {"num-examples": len(y), "train_loss": mean_loss}
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)}
    return Message(content=RecordDict(content), reply_to=message)
