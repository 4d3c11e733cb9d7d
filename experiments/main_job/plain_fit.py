"""What a user would do instead: `model.fit` in one process, with the whole machine.

The same network, batch and epochs as disdel's default, compiled and fitted as the Keras guides do.
Prints one JSON object: the accuracy on the test split.
"""

import argparse
import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    options = parser.parse_args()
    with np.load(options.npz) as data:
        x, y, x_test, y_test = (data[n] for n in ("x_train", "y_train", "x_test", "y_test"))
    keras.utils.set_random_seed(options.seed)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(int(y.max()) + 1, activation="softmax"),
        ]
    )
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=options.steps_per_execution,
    )
    model.fit(x, y, batch_size=options.batch, epochs=options.epochs, verbose=0)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(json.dumps({"accuracy": accuracy}))


if __name__ == "__main__":
    main()
