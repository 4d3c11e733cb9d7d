"""What a user would write by hand: one action that trains on all of the data with `model.fit`.

The same network, loss and optimizer as disdel's; it scores the held-out split and saves the model,
as disdel does. Samples come in one of two ways:

- `pipeline`: from a prepared TFDS data set, as TFDS's own guide to training with Keras has it:
  scaled to float32, cached, shuffled as a whole, batched, prefetched.
- `arrays`: as they are stored, from Redis, since an action's arguments end at 1 MB. It is the least
  that `model.fit` can do with.
"""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import redis

from disdel.models import built_in
from disdel.models.builtin.keras_models import build_keras_model
from openwhisk_local.machine.container_memory import watch_memory


def main(args):
    with watch_memory() as memory:
        store = redis.Redis.from_url(args["redis"])
        data = _pipeline(args) if args["samples"] == "pipeline" else _arrays(args, store)
        keras.utils.set_random_seed(args["seed"])
        model = build_keras_model(
            built_in(
                args["network"],
                input_shape=tuple(args["input_shape"]),
                classes=args["classes"],
                # The pipeline has scaled them.
                input_dtype="float32" if args["samples"] == "pipeline" else args["input_dtype"],
            )
        )
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        began_s = time.perf_counter()
        model.fit(**data("train"), epochs=args["epochs"], verbose=0)
        train_s = time.perf_counter() - began_s
        _, accuracy = model.evaluate(**data("test"), verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            model.save(path)
            store.set("model", path.read_bytes())
        return {
            "accuracy": float(accuracy),
            "train_s": train_s,
            "peak_mb": memory.use().peak_bytes >> 20,
        }


def _arrays(args, store):
    def read(split):
        x = np.frombuffer(store.get(f"{split}_x"), args["input_dtype"])
        y = np.frombuffer(store.get(f"{split}_y"), np.int32)
        return {
            "x": x.reshape(-1, *args["input_shape"]),
            "y": y,
            "batch_size": args["batch"],
        }

    return read


def _pipeline(args):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(args["prepared"])

    count = args["train_samples"]

    def read(split):
        if split == "train":
            part = f"train[:{count}]"
        else:
            part = "test" if "test" in builder.info.splits else f"train[{count}:]"
        samples = (
            builder.as_dataset(split=part, as_supervised=True)
            .map(
                lambda image, label: (tf.cast(image, tf.float32) / 255.0, label),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            .cache()
        )
        if split == "train":
            samples = samples.shuffle(count)
        return {"x": samples.batch(args["batch"]).prefetch(tf.data.AUTOTUNE)}

    return read
