"""A ClientApp of the older API: a NumPyClient, with a mod of Flower's own."""

from flwr.client import NumPyClient
from flwr.client.mod import message_size_mod
from flwr.clientapp import ClientApp
from flwr.common import Context

from digits_keras.task import make, samples


class Client(NumPyClient):
    def __init__(self, partition, config):
        self.epochs = config["local-epochs"]
        self.model = make(config["seed"], config["learning-rate"])
        self.x, self.y = samples(partition, config["seed"])

    def fit(self, parameters, config):
        self.model.set_weights(parameters)
        self.model.fit(self.x, self.y, batch_size=32, epochs=self.epochs, verbose=0)
        return self.model.get_weights(), len(self.x), {"round": config["round"]}

    def evaluate(self, parameters, config):
        self.model.set_weights(parameters)
        loss, accuracy = self.model.evaluate(self.x, self.y, verbose=0)
        return float(loss), len(self.x), {"accuracy": float(accuracy)}


def client_fn(context: Context):
    return Client(context.node_config["partition-id"], context.run_config).to_client()


app = ClientApp(client_fn, mods=[message_size_mod])
