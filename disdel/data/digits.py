"""`digits`: scikit-learn's handwritten digits, which come with the library and need no download.

1,797 images of 8×8 pixels in 16 grey levels, ten classes (E. Alpaydin and C. Kaynak, Optical
Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998; its test part).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from disdel.errors import DatasetError
from disdel.types import DatasetSpec, feature_of, target_of

_LEVELS = 16

SPEC = DatasetSpec(
    name="digits",
    version="1.0.0",
    features=(feature_of((8, 8, 1), "uint8"),),
    targets=(target_of(10),),
    train_samples=1438,
    test_samples=359,
    held_out=True,
    description="Handwritten digits of 8×8 pixels, from scikit-learn.",
)


def write_splits(folder: Path) -> None:
    """Write `train_x.npy` and `train_y.npy`: all samples, the grey levels 0-16 stretched to 0-255.

    Raises:
        DatasetError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError(
            "'digits' comes with scikit-learn, which is not installed: "
            "pip install 'disdel[datasets]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    levels = np.rint(images.reshape(-1, *SPEC.input_shape) * (255 / _LEVELS))
    np.save(folder / "train_x.npy", levels.astype(np.uint8))
    np.save(folder / "train_y.npy", labels.astype(np.int32))
