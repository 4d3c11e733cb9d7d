"""Arrays of samples, brought into the forms that are trained on.

Images are uint8 of shape (height, width, channels). Other integers are int32, or int64 where they
are beyond that, and everything else is float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.integers import as_integers, whole_or_none
from disdel.data.sources.labels import plain
from disdel.data.sources.rounding import check_exact, told_integers
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions
from disdel.types import DatasetSpec, Reading

Samples = NDArray[Any]

_CHANNELS = (1, 3, 4)
# An array of bytes that is narrower is rather a sequence than an image.
_NARROWEST_IMAGE = 8
# Integers of other types than bytes are taken for pixels where they use most of a byte's range.
_BRIGHT = 128


def read_new(x: Samples, where: str, options: ReadOptions) -> tuple[Samples, Reading]:
    """Samples of which nothing is known but what the user says; what was done is told.

    Args:
        x: shape (n, …), any type of numbers.
        where: the file, for messages.
        options: `samples`, `rounded` and `tell` of it.

    Raises:
        DatasetError: they are no numbers, not finite, or may be images as well as not.
    """
    x = _numbers(x, where)
    channels_first = (
        x.ndim == 4
        and x.shape[1] in _CHANNELS
        and x.shape[3] not in _CHANNELS
        and options.samples != "numbers"
    )
    if channels_first:
        options.tell(
            f"{where}: images {_sizes(x)} have their channels first, which are put last"
            + _otherwise(options, "--samples numbers leaves them")
        )
        x = _channels_last(x)
    image = _is_image(x, where, options)
    # Pixels that the user calls pixels are as they are.
    two_values = options.samples is None and x.size > 0 and bool(x.max() <= 1)
    black_and_white = image and (x.dtype.kind == "b" or two_values)
    reading = Reading(channels_first=channels_first, black_and_white=black_and_white)
    if image:
        shape = x.shape[1:] if x.ndim == 4 else (*x.shape[1:], 1)
        told = " of 0 and 1, black and white" if black_and_white else ""
        if x.dtype != np.uint8 or black_and_white:
            options.tell(
                f"{where}: {x.dtype} {_sizes(x)} taken as images {_form(shape)}{told}"
                + _otherwise(options, "--samples numbers takes them as numbers", "float32 is not")
            )
        return _images(x, reading), reading
    if options.samples == "images" and x.ndim == 3:
        x = x[..., np.newaxis]
    elif x.ndim > 2 and options.samples is None:
        options.tell(
            f"{where}: {x.dtype} samples of {_sizes(x)} are taken as numbers"
            + _otherwise(options, "--samples images takes them as images", "images are uint8")
        )
    return _other_numbers(x, where, options), reading


def read_alike(
    x: Samples, where: str, reading: Reading, dtype: str, options: ReadOptions
) -> Samples:
    """Samples as others were read: in the same form, of the same dtype.

    Args:
        x: shape (n, …), any type of numbers.
        where: the file, for messages.
        reading: what was done to the others.
        dtype: of the others, "uint8" for images. Where they are integers and these are not all
            whole, these are float32.
        options: `rounded` and `tell` of it.

    Raises:
        DatasetError: they cannot be read so.
    """
    x = _numbers(x, where)
    if reading.channels_first and x.ndim == 4:
        if x.shape[1] not in _CHANNELS and x.shape[3] in _CHANNELS:
            height, width, channels = x.shape[1:]
            raise DatasetError(
                f"{where} has images {_sizes(x)}, channels last, and those that the data set was "
                f"made of came with channels first, as {_form((channels, height, width))}: put "
                "them first, x.transpose(0, 3, 1, 2)"
            )
        x = _channels_last(x)
    if dtype == "float32":
        return as_floats(x, where, options)
    if dtype != "uint8":
        if x.dtype.kind == "f" and (whole := whole_or_none(x)) is not None:
            x = whole
        return _other_numbers(x, where, options)
    low, high = (x.min(), x.max()) if x.size else (0, 0)
    if x.dtype.kind == "f":
        raise DatasetError(
            f"{where} is {x.dtype}, from {low:g} to {high:g}; images are needed as the data set "
            "has them, in whole numbers from 0 to 255"
        )
    top = 1 if reading.black_and_white else 255
    if x.dtype.kind != "b" and (low < 0 or high > top):
        raise DatasetError(f"{where}: pixels are from {low} to {high}; needed are 0 to {top}")
    if x.dtype.kind == "b" and not reading.black_and_white:
        raise DatasetError(f"{where}: pixels are truth values; needed are 0 to 255")
    return _images(x, reading)


def _numbers(x: Samples, where: str) -> Samples:
    x = plain(x, f"{where}: samples")
    if x.dtype.kind not in "fiub":
        raise DatasetError(f"{where}: samples are of type {x.dtype}; numbers are needed")
    return x


def _channels_last(x: Samples) -> Samples:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _is_image(x: Samples, where: str, options: ReadOptions) -> bool:
    """Whether samples are images of bytes.

    Raises:
        DatasetError: the user says so, and they cannot be; or they may be or not.
    """
    if options.samples == "numbers" or x.dtype.kind == "f":
        return False
    shaped = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in _CHANNELS)
    in_range = x.dtype.kind == "b" or bool(x.size > 0 and x.min() >= 0 and x.max() <= 255)
    if options.samples == "images":
        if not shaped:
            raise DatasetError(
                f"{where}: samples of shape {_sizes(x)} are no images; those are (height, width) "
                "or (height, width, channels)"
            )
        return in_range
    if not shaped or not in_range:
        return False
    if x.ndim == 4:
        return True
    is_narrow = min(x.shape[1:3]) < _NARROWEST_IMAGE
    if x.dtype == np.uint8 or x.dtype.kind == "b":
        if is_narrow:
            raise DatasetError(
                f"{where}: {x.dtype} samples of {_sizes(x)} may be small images or sequences: "
                + ("" if options.from_code else "say which by --samples images|numbers, or ")
                + "give images an axis of channels, and sequences another dtype, as float32"
            )
        return True
    return not is_narrow and bool(x.max() >= _BRIGHT)


def _images(x: Samples, reading: Reading) -> Samples:
    if reading.black_and_white:
        x = x.astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(x[..., np.newaxis] if x.ndim == 3 else x, dtype=np.uint8)


def _other_numbers(x: Samples, where: str, options: ReadOptions) -> Samples:
    """What is no image: integers as such, unless the user takes them rounded."""
    if x.dtype.kind not in "iu" or options.rounded:
        return as_floats(x, where, options)
    x = _with_an_axis(x, where)
    if (remark := told_integers(x, where, options)) is not None:
        options.tell(f"{where}: {remark}")
    return as_integers(x, where)


def as_floats(x: Samples, where: str, options: ReadOptions) -> Samples:
    """Numbers as float32.

    Args:
        x: shape (n, …), any type of numbers.
        where: the file, for messages.
        options: `rounded`, `like`, `from_code` and `tell` of it.

    Raises:
        DatasetError: one is not finite in float32, or different ones become the same.
    """
    x = _with_an_axis(x, where)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, dtype=np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise DatasetError(
            f"{where}: sample {int(np.argmin(finite))} (counted from 0) holds NaN, infinity or a "
            "number beyond float32; leave it out or fill it"
        )
    wide = (x.dtype.kind in "iu" and x.dtype.itemsize > 2) or x.dtype == np.float64
    if wide and x.ndim == 2:
        names = [str(place) for place in range(x.shape[1])]
        remark = check_exact(x, names, where, options)
        if remark is not None:
            options.tell(f"{where}: {remark}")
    return values


def _with_an_axis(x: Samples, where: str) -> Samples:
    if x.ndim == 1:
        x = x[:, np.newaxis]
    if x.size == 0:
        raise DatasetError(f"{where}: samples of shape {x.shape[1:]} are empty")
    return x


def is_one_sample(x: Samples, like: DatasetSpec) -> bool:
    """Whether an array is one sample by itself, of a data set's shape as its files have it."""
    if not like.reading.channels_first or len(like.input_shape) != 3:
        return x.shape == like.input_shape
    height, width, channels = like.input_shape
    return x.shape in ((channels, height, width), like.input_shape)


def fitted(x: Samples, like: DatasetSpec, where: str, options: ReadOptions) -> Samples:
    """Samples in the shape of a data set's: one alone is a batch, grey images have a channel.

    Channels that come first are put last, which is told.

    Raises:
        DatasetError: they are of another shape.
    """
    shape = like.input_shape
    if x.shape == shape:
        x = x[np.newaxis]
    if x.shape[1:] != shape and (*x.shape[1:], 1) == shape:
        x = x[..., np.newaxis]
    if x.shape[1:] != shape and x.ndim == 4 and (x.shape[2], x.shape[3], x.shape[1]) == shape:
        options.tell(f"{where}: images {_sizes(x)} have their channels first, which are put last")
        x = _channels_last(x)
    if x.shape[1:] != shape or not len(x):
        raise DatasetError(
            f"{where} has samples of shape {_as_it_came(x.shape[1:], like)} ({len(x)} of them); "
            f"{like.name} has {_as_it_came(shape, like)}"
        )
    return x


def _as_it_came(shape: tuple[int, ...], like: DatasetSpec) -> str:
    """A shape as the files of the data set have it."""
    if like.reading.channels_first and len(shape) == 3:
        height, width, channels = shape
        return f"{(channels, height, width)} (channels first)"
    return str(shape)


def _otherwise(options: ReadOptions, option: str, of_code: str = "") -> str:
    """How a user has samples taken otherwise, in brackets: by an option, or from a function."""
    said = of_code if options.from_code else option
    return f" ({said})" if said else ""


def _sizes(x: Samples) -> str:
    return _form(x.shape[1:])


def _form(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
