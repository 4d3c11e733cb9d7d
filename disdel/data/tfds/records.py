"""TFRecord files written without TensorFlow, whose import takes seconds and a framework.

A record is its length (8 bytes), a checksum of that, its bytes, and a checksum of these, all
little-endian (https://www.tensorflow.org/tutorials/load_data/tfrecord).

Imports TFDS; import it lazily.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
from tensorflow_datasets.core import file_adapters

# What TFDS hands to a writer: keys, by which it may have sorted, and serialised examples.
Keyed = Iterable[tuple[object, bytes]]


def write_plainly() -> None:
    """Have TFDS write with `write_records` from now on, in this process."""

    def write_examples(
        cls: object,  # noqa: ARG001
        path: os.PathLike[str],
        iterator: Keyed,
    ) -> None:
        write_records(Path(os.fspath(path)), (example for _, example in iterator))

    file_adapters.TfRecordFileAdapter.write_examples = classmethod(write_examples)


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a TFRecord file."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _checksum(length) + record + _checksum(record))


def _checksum(data: bytes) -> bytes:
    """The format's masked CRC-32C."""
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
