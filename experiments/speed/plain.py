"""What a user would do instead: one process with the whole machine.

    python experiments/speed/plain.py keras|torch NETWORK data.npz [--batch 64] [--epochs 5]

Keras: `compile` and `fit`, as the guides do. PyTorch: the tutorial's loop, with samples indexed
from one tensor in memory, which is faster than a DataLoader. Prints one JSON object: the accuracy
on the test split.
"""

import argparse
import json
import os

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def with_keras(options, x, y, x_test, y_test):
    """The accuracy of plain Keras."""
    import keras
    import keras_nets

    keras.utils.set_random_seed(options.seed)
    model = getattr(keras_nets, options.network)(x.shape[1:], int(y.max()) + 1)
    model.compile("adam", keras_nets.loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=options.batch, epochs=options.epochs, verbose=0)
    return model.evaluate(x_test, y_test, verbose=0)[1]


def with_torch(options, x, y, x_test, y_test):
    """The accuracy of a plain loop in PyTorch."""
    import torch
    import torch_nets

    torch.manual_seed(options.seed)

    def given(samples):
        samples = samples.transpose(0, 3, 1, 2) if samples.ndim == 4 else samples
        return torch.from_numpy(np.ascontiguousarray(samples))

    def numbers(samples):
        is_whole = options.network == "lstm"
        return samples if is_whole else torch_nets.preprocess(samples.float())

    x, x_test = given(x), given(x_test)
    y, y_test = (torch.from_numpy(labels.astype(np.int64)) for labels in (y, y_test))
    model = getattr(torch_nets, options.network)(tuple(x.shape[1:]), int(y.max()) + 1)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(options.epochs):
        for positions in torch.randperm(len(x)).split(options.batch):
            optimizer.zero_grad()
            torch_nets.loss(model(numbers(x[positions])), y[positions]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(numbers(part)).argmax(1) == labels).sum())
            for part, labels in zip(x_test.split(500), y_test.split(500), strict=True)
        )
    return right / len(y_test)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", choices=["keras", "torch"])
    parser.add_argument("network", choices=["table", "lstm", "resnet20"])
    parser.add_argument("npz")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with np.load(options.npz) as data:
        split = [data[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    train = with_keras if options.framework == "keras" else with_torch
    print(json.dumps({"accuracy": train(options, *split)}))


if __name__ == "__main__":
    main()
