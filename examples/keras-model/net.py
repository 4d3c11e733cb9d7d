"""A small convolutional network for 8×8 pictures of digits."""

import keras
from keras import layers

loss = "sparse_categorical_crossentropy"
metrics = ["sparse_top_k_categorical_accuracy"]


def optimizer():
    """AdamW with a weight decay of our own."""
    return keras.optimizers.AdamW(3e-3, weight_decay=1e-4)


def augment(x, y):
    """Move each batch of training pictures by one pixel at random."""
    shift = keras.random.randint((), -1, 2)
    return keras.ops.roll(x, shift, axis=2), y


def make(input_shape, classes):
    """The model, for samples of `input_shape` and so many classes."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(classes, activation="softmax"),
        ]
    )
