"""The process that runs TFDS for the host: reads, writes and downloads prepared data sets.

It also runs the user's own functions that return samples, or deal them to clients.

`python -m disdel.data.tfds.process REQUEST ANSWER`, two JSON files. Samples travel as
`SPLIT_x.npy` and `SPLIT_y.npy` in a folder, never through memory.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from disdel.data.client_counts import counts_of
from disdel.data.folders import PreparedFolder
from disdel.data.partitioners.own import dealt_by_users
from disdel.data.tfds.catalog import sample_format
from disdel.data.tfds.tasks import Call, Count, Deal, Decode, Download, Write
from disdel.data.user_splits import returned_splits
from disdel.errors import DatasetError, UsageError
from disdel.types import CodeRef, target_of
from disdel.user_code.files_read import FilesRead
from disdel.user_code.module import UserModule, end_process

_READ_BATCH = 1024
# TFDS retries each file ten times, with growing pauses and no time limit: 205 s on a machine
# without network. These bound it to seconds there, and to a minute where packets vanish.
_DOWNLOAD_RETRIES = 2
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60


def decode(task: Decode) -> None:
    """Read every usable split, in the order in which it was written.

    Sets in a format with random access are read without TensorFlow.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(task.version_dir)
    info = builder.info
    folder = PreparedFolder(info.name, None, str(info.version), Path(task.version_dir))
    noted = () if folder.import_record is None else folder.import_record.targets
    form = sample_format(info.name, info.features, info.supervised_keys, noted)
    random_access = info.file_format in tfds.core.FileFormat.with_random_access()
    for split, split_info in info.splits.items():
        if split not in ("train", "test", "validation"):
            continue
        count = int(split_info.num_examples)
        target = Path(task.splits_dir)
        samples = np.lib.format.open_memmap(
            target / f"{split}_x.npy", mode="w+", dtype=form.dtype, shape=(count, *form.shape)
        )
        labels = np.empty((count, *form.label_shape), dtype=form.label_dtype)
        if random_access:
            for position, sample in enumerate(builder.as_data_source(split)):
                samples[position] = sample[form.input_key]
                labels[position] = sample[form.label_key]
        else:
            batches = builder.as_dataset(
                split,
                batch_size=_READ_BATCH,
                decoders=tfds.decode.PartialDecoding({form.input_key, form.label_key}),
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            )
            start = 0
            for batch in tfds.as_numpy(batches):
                stop = start + len(batch[form.label_key])
                samples[start:stop] = batch[form.input_key]
                labels[start:stop] = batch[form.label_key]
                start = stop
        samples.flush()
        np.save(target / f"{split}_y.npy", labels)


def call(task: Call) -> None:
    """Write the splits that the user's function returns, and `found.json` with what else is known.

    That is their classes, and the files that they came from.
    """
    code = CodeRef(**{**task.code, "requirements": tuple(task.code["requirements"])})
    folder, here = Path(task.folder), Path.cwd()
    read = FilesRead()
    told: list[str] = []
    with read.watched():
        splits = returned_splits(UserModule(code, folder), task.code["entry"], told.append)
    os.chdir(here)
    target = Path(task.splits_dir)
    for split, samples in splits.splits.items():
        np.save(target / f"{split}_x.npy", samples.x)
        np.save(target / f"{split}_y.npy", splits.labels[split])
    found = {
        "target": dataclasses.asdict(splits.target),
        "read": read.note(
            (source.encode() for source in task.sources),
            (here, folder),
            leave_out=(Path(tempfile.gettempdir()),),
        ),
        "reading": dataclasses.asdict(splits.reading),
        "told": told,
    }
    (target / "found.json").write_text(json.dumps(found), encoding="utf-8")


def deal(task: Deal) -> None:
    """Write `order.npy` and `sizes.npy`: what the user's function deals, client after client."""
    code = CodeRef(**{**task.code, "requirements": tuple(task.code["requirements"])})
    exchange = Path(task.exchange_dir)
    labels = np.load(exchange / "labels.npy")
    assignment = dealt_by_users(
        UserModule(code, Path(task.folder)), task.said, labels, task.clients, task.seed
    )
    np.save(exchange / "order.npy", assignment.order())
    np.save(exchange / "sizes.npy", assignment.sizes)


def count(task: Count) -> None:
    """Write `counts.npy`: the samples of each client, (clients,)."""
    code = CodeRef(**{**task.code, "requirements": tuple(task.code["requirements"])})
    counts = counts_of(UserModule(code, Path(task.folder)))
    np.save(Path(task.exchange_dir) / "counts.npy", counts)


def write(task: Write) -> None:
    """Write a prepared data set as TFDS itself would, in the order of the source."""
    import tensorflow_datasets as tfds

    from disdel.data.tfds.records import write_plainly

    tfds.disable_progress_bar()
    write_plainly()
    builder = _import_builder(task)(data_dir=task.data_dir, config=task.config)
    builder.download_and_prepare()


def download(task: Download) -> None:
    """Download and prepare; progress is not shown, retries are bounded.

    Raises:
        DatasetError: the server cannot be reached.
    """
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    tfds.disable_progress_bar()
    downloader.MAX_RETRIES = _DOWNLOAD_RETRIES

    class BoundedAdapter(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **options: Any) -> Any:
            options["timeout"] = (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)
            return super().send(*args, **options)

    # TFDS mounts this class by name; it passes no time limits of its own.
    requests.adapters.HTTPAdapter = BoundedAdapter  # type: ignore[misc]
    builder = tfds.builder_cls(task.name)(
        data_dir=task.data_dir, config=task.config, version=task.version
    )
    config = tfds.download.DownloadConfig(manual_dir=task.manual_dir, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except requests.exceptions.ConnectionError as error:
        url = str(error.request.url) if error.request is not None else ""
        raise DatasetError(f"no connection to {urlsplit(url).hostname or 'its server'}") from error


def _import_builder(task: Write) -> Any:
    """The builder class that writes `task`'s splits.

    For a name of the catalog it extends the catalog's own builder, so that features, version and
    file layout are those that `tfds.load` expects of it.
    """
    import tensorflow_datasets as tfds

    base = tfds.builder_cls(task.name) if task.catalog else tfds.core.GeneratorBasedBuilder
    splits_dir = Path(task.splits_dir)

    # The base is known at run time only.
    class ImportBuilder(base, skip_registration=True):  # type: ignore[call-arg,misc,valid-type]
        name = task.name
        VERSION = base.VERSION if task.catalog else tfds.core.Version(task.version)
        MANUAL_DOWNLOAD_INSTRUCTIONS = None

        def _info(self) -> Any:
            if task.catalog:
                info = super()._info()
                form = sample_format(task.name, info.features, info.supervised_keys)
                if task.class_names and not form.named:
                    info.features[form.label_key].names = task.class_names
            else:
                info = _new_info(self, task)
            # Samples keep the order of their source, which is what their numbers refer to.
            info.as_proto.disable_shuffling = True
            return info

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {
                path.name.removesuffix("_y.npy"): self._generate_examples(path)
                for path in sorted(splits_dir.glob("*_y.npy"))
            }

        def _generate_examples(self, labels_path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
            split = labels_path.name.removesuffix("_y.npy")
            noted = (target_of(task.classes, class_names=tuple(task.class_names)),)
            form = sample_format(task.name, self.info.features, self.info.supervised_keys, noted)
            feature = self.info.features[form.input_key]
            is_image, dtype = isinstance(feature, tfds.features.Image), feature.np_dtype
            samples = np.load(splits_dir / f"{split}_x.npy", mmap_mode="r")
            for position, label in enumerate(np.load(labels_path)):
                sample = samples[position]
                yield (
                    position,
                    {
                        form.input_key: _png(sample) if is_image else sample.astype(dtype),
                        form.label_key: label if label.ndim else label.item(),
                        **dict.fromkeys(form.text_keys, f"{split}_{position:05d}"),
                        **dict.fromkeys(form.other_labels, -1),
                    },
                )

    return ImportBuilder


def _new_info(builder: Any, task: Write) -> Any:
    import tensorflow_datasets as tfds

    samples = np.load(Path(task.splits_dir) / "train_x.npy", mmap_mode="r")
    shape = samples.shape[1:]
    if samples.dtype == np.uint8:
        key, feature = "image", tfds.features.Image(shape=shape, encoding_format="png")
    else:
        key, feature = "features", tfds.features.Tensor(shape=shape, dtype=samples.dtype.type)
    target, label = "label", tfds.features.Scalar(np.float32)
    labels = np.load(Path(task.splits_dir) / "train_y.npy", mmap_mode="r")
    if labels.ndim > 1:
        # The import's record has the classes.
        label = tfds.features.Tensor(shape=labels.shape[1:], dtype=labels.dtype.type)
        target = "label" if task.classes else "target"
    elif task.class_names:
        label = tfds.features.ClassLabel(names=task.class_names)
    elif task.classes:
        label = tfds.features.ClassLabel(num_classes=task.classes)
    else:
        target = "target"
    return tfds.core.DatasetInfo(
        builder=builder,
        description=task.description,
        features=tfds.features.FeaturesDict({key: feature, target: label}),
        supervised_keys=(key, target),
    )


def _png(image: np.ndarray[Any, Any]) -> io.BytesIO:
    """`image`, shape (height, width, 1, 3 or 4), as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


def main(request_path: str, answer_path: str) -> None:
    fields = json.loads(Path(request_path).read_text(encoding="utf-8"))
    error: str | None = None
    try:
        match fields.pop("task"):
            case "Decode":
                decode(Decode(**fields))
            case "Write":
                write(Write(**fields))
            case "Download":
                download(Download(**fields))
            case "Call":
                call(Call(**fields))
            case "Deal":
                deal(Deal(**fields))
            case "Count":
                count(Count(**fields))
    except UsageError as failure:
        error = str(failure)
    except ImportError as failure:
        error = f"{failure}; needed are the extras: pip install 'disdel[datasets,tensorflow]'"
    except BaseException as failure:  # whatever TFDS raises is the answer, not a traceback
        text = str(failure).strip().splitlines()
        error = f"{type(failure).__name__}: {text[0]}" if text else type(failure).__name__
    Path(answer_path).write_text(json.dumps({"error": error}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process(0)
