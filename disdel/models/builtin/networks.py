"""The built-in networks' layers, each a function of the number of classes."""

from __future__ import annotations

from collections.abc import Callable

from disdel.models.builtin.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Relu,
    Residual,
)

Layers = tuple[Layer, ...]


def cnn(classes: int) -> Layers:
    """The DISDEL thesis's network (RIT, 2020)."""
    return (Conv2D(32, 3), MaxPool2D(), Flatten(), Dense(128), Dense(classes, "softmax"))


def cnn2(classes: int) -> Layers:
    """The convolutional network of FedKeeper (Chadha, Jindal and Gerndt, 2020)."""
    return (
        Conv2D(32, 5),
        MaxPool2D(),
        Conv2D(64, 5),
        MaxPool2D(),
        Flatten(),
        Dense(512),
        Dense(classes, "softmax"),
    )


def mlp(classes: int) -> Layers:
    """The fully connected network of FedKeeper."""
    return (Flatten(), Dense(500), Dense(classes, "softmax"))


def lenet5(classes: int) -> Layers:
    """LeNet-5 (LeCun et al., 1998, section II-B) in its common form.

    Where the paper has trainable subsampling, a partial table of connections and radial basis
    functions, this has average pools, full convolutions and softmax. The first convolution pads, so
    that 28×28 images go on as the paper's do, which stand in a field of 32×32.
    """
    return (
        Conv2D(6, 5, "tanh", padding="same"),
        AveragePool2D(),
        Conv2D(16, 5, "tanh"),
        AveragePool2D(),
        Flatten(),
        Dense(120, "tanh"),
        Dense(84, "tanh"),
        Dense(classes, "softmax"),
    )


def resnet20(classes: int) -> Layers:
    """ResNet-20 (He et al., 2015, section 4.2): 3 stages of 3 blocks, for 32×32 images."""
    return _resnet(classes, filters=(16, 32, 64), blocks=(3, 3, 3))


def resnet32(classes: int) -> Layers:
    """ResNet-32 (He et al., 2015, section 4.2): 3 stages of 5 blocks, for 32×32 images."""
    return _resnet(classes, filters=(16, 32, 64), blocks=(5, 5, 5))


def resnet34(classes: int) -> Layers:
    """ResNet-34 (He et al., 2015, table 1) for 32×32 images.

    As ports to CIFAR have it, the stem is a convolution of 3×3 instead of 7×7 with stride 2, and no
    max-pool follows it.
    """
    return _resnet(classes, filters=(64, 128, 256, 512), blocks=(3, 4, 6, 3))


def vgg11(classes: int) -> Layers:
    """VGG configuration A (Simonyan and Zisserman, 2014, table 1) for 32×32 images.

    Each convolution is followed by batch normalisation, which the paper predates. One dense layer
    from 512 channels to the classes replaces the paper's three, as in ports to CIFAR.
    """
    stack: list[Layer] = []
    for filters in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        if isinstance(filters, int):
            conv = Conv2D(filters, 3, "linear", padding="same")
            stack += [conv, BatchNorm(), Relu()]
        else:
            stack.append(MaxPool2D())
    return (*stack, GlobalAveragePool2D(), Dense(classes, "softmax"))


def _resnet(classes: int, *, filters: tuple[int, ...], blocks: tuple[int, ...]) -> Layers:
    """Stages of basic blocks; every stage but the first begins by halving the image."""
    stack: list[Layer] = [*_convolution(filters[0], 3), Relu()]
    for stage, (width, count) in enumerate(zip(filters, blocks, strict=True)):
        for block in range(count):
            stack += _basic_block(width, halve=stage > 0 and block == 0)
    return (*stack, GlobalAveragePool2D(), Dense(classes, "softmax"))


def _basic_block(filters: int, *, halve: bool) -> Layers:
    """Two convolutions and a shortcut (He et al., 2015, figure 2).

    Where the shape changes, the shortcut is a convolution of 1×1: the paper's option B, in
    ResNet-20 and -32 too, for which the paper took option A and 1 % fewer parameters.
    """
    strides = 2 if halve else 1
    body = (*_convolution(filters, 3, strides), Relu(), *_convolution(filters, 3))
    return (Residual(body, _convolution(filters, 1, strides) if halve else ()), Relu())


def _convolution(filters: int, kernel: int, strides: int = 1) -> Layers:
    # The offset of the normalisation takes the place of a bias.
    conv = Conv2D(filters, kernel, "linear", strides=strides, padding="same", bias=False)
    return (conv, BatchNorm())


NETWORKS: dict[str, Callable[[int], Layers]] = {
    network.__name__: network
    for network in (cnn, cnn2, mlp, lenet5, resnet20, resnet32, resnet34, vgg11)
}
