"""The held-out networks in Keras: plain `fit` trains them, and `disdel train --model FILE:NAME`."""

import keras
from keras import layers

loss = "sparse_categorical_crossentropy"


def table(input_shape, classes):
    """A multilayer perceptron on rows of numbers."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Dense(256, activation="relu"),
            layers.Dense(256, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def lstm(input_shape, classes):
    """One LSTM over embedded words."""
    return keras.Sequential(
        [
            keras.Input(input_shape, dtype="int32"),
            layers.Embedding(2000, 32),
            layers.LSTM(64),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def resnet20(input_shape, classes):
    """ResNet-20 (He et al., 2016, section 4.2), with 1×1 convolutions where shapes change."""

    def normed(x, filters, size, stride):
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = keras.Input(input_shape)
    x = layers.ReLU()(normed(layers.Rescaling(1 / 255)(inputs), 16, 3, 1))
    for filters in (16, 32, 64):
        for block in range(3):
            stride = 2 if filters > 16 and block == 0 else 1
            changed = layers.ReLU()(normed(x, filters, 3, stride))
            changed = normed(changed, filters, 3, 1)
            kept = x if stride == 1 else normed(x, filters, 1, stride)
            x = layers.ReLU()(layers.Add()([changed, kept]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))
