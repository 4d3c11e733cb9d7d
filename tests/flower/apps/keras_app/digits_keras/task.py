"""The network and its data: nothing of Flower."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

FEATURES, CLASSES, SAMPLES = 20, 4, 400


def make(seed, rate):
    keras.utils.set_random_seed(seed)
    keras.config.disable_interactive_logging()
    model = keras.Sequential(
        [
            keras.layers.Input((FEATURES,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def samples(partition, seed):
    """Points around a centre for each class; partition -1 is the test split."""
    centres = np.random.default_rng(seed).normal(size=(CLASSES, FEATURES))
    drawn = np.random.default_rng([seed, partition + 2])
    labels = drawn.integers(CLASSES, size=SAMPLES)
    noise = drawn.normal(size=(SAMPLES, FEATURES))
    return (centres[labels] + 1.5 * noise).astype("float32"), labels
