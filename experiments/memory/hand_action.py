"""What a user would write by hand: one action that trains on all of the data with `model.fit`.

The same network, loss and optimizer as disdel's; it scores the held-out split and saves the model,
as disdel does. Samples come from Redis, since an action's arguments end at 1 MB.
"""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import redis

from disdel.catalog.models.keras_models import build_keras_model
from disdel.container_memory import watch_memory
from disdel.types import ModelSpec


def main(args):
    with watch_memory() as memory:
        store = redis.Redis.from_url(args["redis"])
        shape = tuple(args["input_shape"])

        def read(split):
            x = np.frombuffer(store.get(f"{split}_x"), args["input_dtype"]).reshape(-1, *shape)
            return x, np.frombuffer(store.get(f"{split}_y"), np.int32)

        x, y = read("train")
        keras.utils.set_random_seed(args["seed"])
        model = build_keras_model(
            ModelSpec(name=args["network"], input_shape=shape, classes=args["classes"]),
            input_dtype=args["input_dtype"],
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        began_s = time.perf_counter()
        model.fit(x, y, batch_size=args["batch"], epochs=args["epochs"], verbose=0)
        train_s = time.perf_counter() - began_s
        _, accuracy = model.evaluate(*read("test"), verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            model.save(path)
            store.set("model", path.read_bytes())
        return {
            "accuracy": float(accuracy),
            "train_s": train_s,
            "peak_mb": memory.use().peak_bytes >> 20,
        }
