"""What TFDS knows of a data set, asked without TensorFlow and without the network.

`tensorflow_datasets` itself imports in a fraction of a second and loads TensorFlow only to read
samples. `tfds.list_builders()` would ask Google's cloud storage for community data sets;
the registry below it holds the same names without them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from disdel.data.folders import PreparedFolder
from disdel.data.holdout import held_out_size
from disdel.data.names import DatasetRef
from disdel.errors import DatasetError
from disdel.types import DatasetSpec, Reading, TargetSpec, feature_of, target_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFormat:
    """The two features of a data set that are trained on, and how the others could be filled.

    Attributes:
        input_key: name of the image or array feature.
        label_key: name of the class label feature, or of the number to predict.
        shape: shape of one sample.
        label_shape: shape of its label, () for one class or number.
        dtype: "uint8" for images; other integers are "int32", or "int64" where that is needed;
            else "float32", to which other numbers are converted.
        class_names: one a class; "0", "1", … where the catalog gives only their number. Empty where
            a number is predicted.
        named: whether the catalog gives names and not only a number of classes.
        text_keys: other features that hold text.
        other_labels: other class label features.
        other_keys: the remaining features.
    """

    input_key: str
    label_key: str
    shape: tuple[int, ...]
    label_shape: tuple[int, ...]
    dtype: str
    class_names: tuple[str, ...]
    named: bool
    text_keys: tuple[str, ...]
    other_labels: tuple[str, ...]
    other_keys: tuple[str, ...]

    @property
    def label_dtype(self) -> str:
        return "int32" if self.class_names else "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A data set of the TFDS catalog, as its code describes it."""

    name: str
    config: str | None
    version: str
    features: Any  # tfds.features.FeaturesDict, of a library without types
    supervised_keys: object

    def sample_format(self) -> SampleFormat:
        """As `sample_format` of its features."""
        return sample_format(self.name, self.features, self.supervised_keys)


def import_tfds() -> ModuleType:
    """The `tensorflow_datasets` module.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DatasetError(
            f"prepared data sets need TensorFlow Datasets, which cannot be imported ({error}): "
            "pip install 'disdel[datasets]'"
        ) from error
    module: ModuleType = tensorflow_datasets
    return module


def catalog_names() -> tuple[str, ...]:
    """The names of the TFDS catalog, sorted; none where TFDS is not installed."""
    try:
        import_tfds()
    except DatasetError:
        return ()
    from tensorflow_datasets.core import registered

    return tuple(sorted(registered.list_imported_builders()))


def catalog_entry(ref: DatasetRef) -> CatalogEntry | None:
    """What the catalog says of `ref`, or None when it has no such data set.

    Raises:
        DatasetError: the data set has no such configuration or version, or its code needs a
            package that is not installed.
    """
    if ref.name not in catalog_names():
        return None
    tfds = import_tfds()
    cls = tfds.builder_cls(ref.name)
    if ref.config is not None and ref.config not in cls.builder_configs:
        raise DatasetError(
            f"{ref.name!r} has no configuration {ref.config!r}; it has "
            f"{', '.join(cls.builder_configs) or 'none'}"
        )
    try:
        # Any empty folder: a builder looks there for a prepared version and must find none.
        with (
            _native_messages_dropped(),
            _without_the_bucket(tfds),
            tempfile.TemporaryDirectory() as nowhere,
        ):
            builder = cls(data_dir=nowhere, config=ref.config, version=ref.version)
            features = builder.info.features
    except Exception as error:  # a builder's constructor runs code of the data set's author
        raise DatasetError(f"TFDS cannot describe {str(ref)!r}: {_first_line(error)}") from error
    config = builder.builder_config
    return CatalogEntry(
        name=ref.name,
        config=config.name if config else None,
        version=str(builder.version),
        features=features,
        supervised_keys=builder.info.supervised_keys,
    )


def prepared_spec(folder: PreparedFolder) -> DatasetSpec:
    """The specification of a prepared data set, from the files that describe it.

    Raises:
        DatasetError: its samples are not one fixed-shape array with one class label, it has no
            training split, or TFDS cannot read the folder.
    """
    tfds = import_tfds()
    try:
        with _native_messages_dropped():
            info = tfds.builder_from_directory(str(folder.path)).info
    except Exception as error:  # TFDS documents no set of exceptions for a damaged folder
        raise DatasetError(f"TFDS cannot read {folder.path}: {_first_line(error)}") from error
    record = folder.import_record
    noted = record.targets if record is not None else ()
    form = sample_format(folder.full_name, info.features, info.supervised_keys, noted)
    counts = {name: int(split.num_examples) for name, split in info.splits.items()}
    if "train" not in counts:
        raise DatasetError(
            f"{folder.full_name!r} has no 'train' split, only {', '.join(sorted(counts)) or 'none'}"
        )
    test = counts.get("test")
    held = held_out_size(counts["train"]) if test is None else 0
    reading = Reading() if record is None else record.reading
    names = form.class_names if form.named else ()
    return DatasetSpec(
        name=folder.full_name,
        version=folder.version,
        features=(record.features if record is not None else ())
        or (feature_of(form.shape, form.dtype, from_table=reading.table is not None),),
        targets=noted or (target_of(len(form.class_names), form.label_shape, names),),
        train_samples=counts["train"] - held,
        test_samples=held if test is None else test,
        validation_samples=counts.get("validation", 0),
        held_out=test is None or (record is not None and record.held_out),
        description=" ".join((info.description or "").split()),
        reading=reading,
    )


def sample_format(
    name: str, features: Any, supervised_keys: object, noted: tuple[TargetSpec, ...] = ()
) -> SampleFormat:
    """Find the one image or array and the one class label among TFDS features, by type.

    Where there are several of a kind, TFDS's own `supervised_keys` decides, which may also name
    fractional numbers in place of the class, one or an array of them. Text, and whatever else is
    not an image, an array or a class label, is ignored.

    Args:
        name: of the data set, for messages.
        features: TFDS's.
        supervised_keys: TFDS's.
        noted: the targets of an import, which says what arrays of whole numbers are.

    Raises:
        DatasetError: there is not exactly one of each, or the input's shape varies.
    """
    tfds = import_tfds()
    kinds = {key: _kind(tfds, feature) for key, feature in dict(features).items()}
    images = [key for key, kind in kinds.items() if kind == "image"]
    inputs = images or [key for key, kind in kinds.items() if kind == "array"]
    labels = [key for key, kind in kinds.items() if kind == "label"]
    match supervised_keys:
        case (str(x), str(y)) if (
            x != y
            and kinds.get(x) in ("image", "array")
            and (kinds.get(y) in ("label", "number") or _is_target(features[y], kinds[y], noted))
        ):
            inputs, labels = [x], [y]
    if len(inputs) != 1 or len(labels) != 1:
        # Read back from a file, features come in an order that changes from process to process.
        listing = ", ".join(
            f"{key}: {type(feature).__name__}" for key, feature in sorted(features.items())
        )
        raise DatasetError(
            f"{name!r} cannot be trained on here: needed are one image or fixed-shape array and "
            f"one class label, and its features are {listing}"
        )
    [input_key], [label_key] = inputs, labels
    feature, label = features[input_key], features[label_key]
    if any(size is None for size in feature.shape):
        raise DatasetError(
            f"the samples of {name!r} vary in shape ({input_key!r} is {feature.shape}); needed is "
            "one shape for all"
        )
    if any(size is None for size in label.shape):
        raise DatasetError(f"the labels of {name!r} vary in shape ({label_key!r} is {label.shape})")
    if kinds[label_key] == "label" and not label.num_classes:
        raise DatasetError(f"{name!r} does not tell how many classes {label_key!r} has")
    names: tuple[str, ...] = ()
    if kinds[label_key] == "label":
        names = tuple(label.names)
    elif noted:
        names = noted[0].class_names or tuple(map(str, range(noted[0].classes)))
    rest = {key: kind for key, kind in kinds.items() if key not in (input_key, label_key)}
    return SampleFormat(
        input_key=input_key,
        label_key=label_key,
        shape=tuple(feature.shape),
        label_shape=tuple(label.shape),
        dtype=_stored_dtype(_dtype(feature), is_image=kinds[input_key] == "image"),
        class_names=names,
        named=bool(names) and names != tuple(map(str, range(len(names)))),
        text_keys=tuple(key for key, kind in rest.items() if kind == "text"),
        other_labels=tuple(key for key, kind in rest.items() if kind == "label"),
        other_keys=tuple(key for key, kind in rest.items() if kind not in ("text", "label")),
    )


def _is_target(feature: Any, kind: str, noted: tuple[TargetSpec, ...]) -> bool:
    """Whether an array can be learnt: numbers, or classes of a number that is noted."""
    return kind == "array" and (bool(noted) or _dtype(feature).kind == "f")


def _stored_dtype(dtype: np.dtype[Any], *, is_image: bool) -> str:
    if is_image:
        return "uint8" if dtype == np.uint8 else "float32"
    if dtype.kind not in "iu":
        return "float32"
    # Of the integers of 64 bits without a sign, some have no place in int64.
    needed = np.promote_types(dtype, np.int32)
    return needed.name if needed.kind == "i" else "float32"


@contextmanager
def _without_the_bucket(tfds: ModuleType) -> Iterator[None]:
    """Builders ask Google's storage nothing meanwhile, for which each would leave a folder."""
    info = tfds.core.DatasetInfo
    asks = info.initialize_from_bucket
    info.initialize_from_bucket = lambda _: None
    try:
        yield
    finally:
        info.initialize_from_bucket = asks


@contextmanager
def _native_messages_dropped() -> Iterator[None]:
    """Drop what is written to the standard error meanwhile.

    The features of a few data sets load TensorFlow, whose libraries write past `sys.stderr`.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _kind(tfds: ModuleType, feature: Any) -> str:
    features = tfds.features
    if isinstance(feature, features.Image):
        return "image"
    if isinstance(feature, features.ClassLabel):
        return "label"
    if isinstance(feature, features.Text):
        return "text"
    numeric = isinstance(feature, features.Tensor) and _dtype(feature).kind in "fiub"
    if numeric and feature.shape:
        return "array"
    return "number" if numeric and _dtype(feature).kind == "f" else "other"


def _dtype(feature: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(feature.np_dtype)  # TFDS gives a scalar type or a dtype
    return dtype


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
