"""The samples of the held-out networks, as `.npz` files that every contender reads."""

import zipfile

import numpy as np


def table(path, train):
    """Rows of 54 numbers in 7 classes: which of 7 random functions of them is the largest."""
    random = np.random.default_rng(1)
    x = random.normal(size=(train + 5000, 54)).astype(np.float32)
    hidden = np.tanh(x @ random.normal(size=(54, 40)) / 7)
    y = (hidden @ random.normal(size=(40, 7))).argmax(1)
    _save(path, x, y, train)


def lstm(path, train):
    """60 words of 2,000, in 4 classes: which of 4 words, each in every row, comes last."""
    random = np.random.default_rng(2)
    x = random.integers(4, 2000, (train + 2000, 60)).astype(np.int32)
    places = random.permuted(np.tile(np.arange(60), (len(x), 1)), axis=1)[:, :4]
    np.put_along_axis(x, places, np.arange(4, dtype=np.int32)[None].repeat(len(x), 0), axis=1)
    _save(path, x, places.argmax(1), train)


def resnet20(path, train, images):
    """CIFAR-10 from a zip of SPLIT/CLASS/NNNN.jpg, the first of each class."""
    from PIL import Image

    found = {}
    with zipfile.ZipFile(images) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        for split, wanted in (("train", train), ("test", min(train, 2000))):
            each = wanted // len(classes)
            chosen = [
                name
                for kind in classes
                for name in [n for n in names if n.startswith(f"{split}/{kind}/")][:each]
            ]
            with_labels = [
                (np.asarray(Image.open(archive.open(name))), classes.index(name.split("/")[1]))
                for name in np.random.default_rng(3).permutation(chosen)
            ]
            x, y = zip(*with_labels, strict=True)
            found[f"x_{split}"], found[f"y_{split}"] = np.stack(x), np.array(y)
    np.savez(path, **found)


def _save(path, x, y, train):
    np.savez(path, x_train=x[:train], y_train=y[:train], x_test=x[train:], y_test=y[train:])
