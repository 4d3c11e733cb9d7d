"""Flower's side of a worker: the network of `plain_fit.py`, trained on one part of the samples.

Written as Flower's TensorFlow quickstart is: every round builds the network, takes the weights of
the message, fits one epoch and answers with new weights. The samples are loaded once a process.
"""

import functools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

client_app = ClientApp()


def build_model(input_shape):
    """The default network of disdel, compiled as in `plain_fit.py`."""
    model = keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@functools.cache
def partition(npz, seed, part, parts):
    """Part `part` of the training samples in an order shuffled by the seed."""
    with np.load(npz) as data:
        x, y = data["x_train"], data["y_train"]
    order = np.random.default_rng(seed).permutation(len(x))[part::parts]
    return x[order], y[order]


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """One local epoch from the weights of the message."""
    given = message.content["config"]
    part, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    x, y = partition(given["npz"], given["seed"], part, parts)
    keras.utils.set_random_seed(given["seed"] * 1000 + part)
    model = build_model(x.shape[1:])
    model.set_weights(message.content["arrays"].to_numpy_ndarrays())
    history = model.fit(x, y, batch_size=given["batch"], epochs=1, verbose=0)
    metrics = {"num-examples": len(x), "train_loss": history.history["loss"][-1]}
    content = {"arrays": ArrayRecord(model.get_weights()), "metrics": MetricRecord(metrics)}
    return Message(content=RecordDict(content), reply_to=message)
