"""Data sets that new samples are read for, and files of such."""

from __future__ import annotations

import numpy as np
from PIL import Image

from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.samples import labelled
from disdel.types import Reading
from tests.support.specs import dataset_spec

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3


def spec(shape=(3,), dtype="float32", classes=3, names=(), reading=None):
    return dataset_spec(
        name="made",
        version="1.0.0",
        input_shape=shape,
        input_dtype=dtype,
        classes=classes,
        train_samples=8,
        test_samples=2,
        class_names=names,
        reading=reading or Reading(),
    )


IMAGES = spec((8, 8, 1), "uint8")


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def npz(path, **arrays):
    np.savez(path, **arrays)
    # numpy would add a suffix of its own.
    return path


def imported(path, **options):
    told = []
    options = ReadOptions(tell=told.append, **options)
    return labelled(read_source(path, options), str(path), options), told
