"""New samples are read as those of the data set were, and what is changed or left out is told."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from disdel.controller.inference.inputs import read_inputs
from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.samples import labelled, raw_split
from disdel.errors import DatasetError, UsageError
from disdel.settings.read_options import TableOptions
from disdel.types import Reading, Scaling, target_of
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


@pytest.mark.parametrize(
    ("names", "labels", "numbers"),
    [
        (("1", "2", "3"), [1, 2, 2], [0, 1, 1]),
        (("1", "2", "3"), [3.0, 1.0, 2.0], [2, 0, 1]),
        (("1", "2", "3"), ["3", "1", "2"], [2, 0, 1]),
        (("1", "2", "3"), np.array(["3", "1", "2"], "S"), [2, 0, 1]),
        (("1", "2", "3"), [[3], [1], [2]], [2, 0, 1]),
        (("-1", "1"), [-1, 1, -1], [0, 1, 0]),
        (("cat", "dog"), ["dog", "cat", "dog"], [1, 0, 1]),
        (("caf\u00e9", "dog"), ["cafe\u0301", "dog", "dog"], [0, 1, 1]),
        (("False", "True"), [True, False, True], [1, 0, 1]),
        ((), [0, 2, 1], [0, 2, 1]),
    ],
)
def test_labels_of_new_samples_are_names_and_no_class_numbers(tmp_path, names, labels, numbers):
    path = npz(tmp_path / "new.npz", x=np.zeros((3, 3)), y=np.array(labels))
    inputs = read_inputs(path, spec(classes=len(names) or 3, names=names))
    assert inputs.y.tolist() == numbers


@pytest.mark.parametrize(
    ("names", "labels", "unknown"),
    [
        (("1", "2", "3"), [0, 1, 2], "0"),
        (("-1", "1"), [0, 1, 1], "0"),
        (("cat", "dog"), ["dog", "cow", "cat"], "cow"),
        (("cat", "dog"), [0, 1, 1], "0"),
        ((), [0, 1, 3], "3"),
    ],
)
def test_a_label_that_no_class_has_is_named(tmp_path, names, labels, unknown):
    path = npz(tmp_path / "new.npz", x=np.zeros((3, 3)), y=np.array(labels))
    with pytest.raises(UsageError, match=f"label '{unknown}' is none of the classes of made"):
        read_inputs(path, spec(classes=len(names) or 3, names=names))


def test_labels_that_are_not_there_are_not_needed(tmp_path):
    for arrays in ({"x": np.ones((2, 3))}, {"x_test": np.ones((2, 3))}, {"odd": np.ones((2, 3))}):
        assert read_inputs(npz(tmp_path / "new.npz", **arrays), spec()).y is None
    (tmp_path / "new.npz").rename(tmp_path / "NEW.NPZ")
    assert read_inputs(tmp_path / "NEW.NPZ", spec()).x.shape == (2, 3)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.array([[0, 0, 0], [0, np.nan, 0]])}, "sample 1 .* holds NaN"),
        ({"x": np.full((2, 3), np.inf)}, "sample 0 .* infinity"),
        ({"x": np.full((2, 3), 1e39)}, "sample 0 .* beyond float32"),
        ({"x": np.ones((2, 4))}, r"samples of shape \(4,\) .* made has \(3,\)"),
        ({"x": np.ones((2, 3), complex)}, "type complex128"),
        ({"x": np.ones((0, 3))}, "holds no samples"),
        ({"x": np.ones((2, 3)), "y": np.ones(3, int)}, "2 samples and 3 labels"),
        ({"x": np.ones((2, 3)), "y": np.eye(2)}, "one-hot: give y.argmax"),
        ({"x": np.ones((2, 3)), "y": np.ones((2, 2), int)}, r"shape \(2,\) a sample, .* have \(\)"),
        ({"a": np.ones((2, 3)), "b": np.ones(2)}, "holds a, b; needed are"),
        ({"x": np.array([{}, {}])}, "plain arrays"),
    ],
)
def test_arrays_that_are_no_samples_of_the_data_set(tmp_path, arrays, told):
    with pytest.raises(UsageError, match=told):
        read_inputs(npz(tmp_path / "new.npz", **arrays), spec())


@pytest.mark.parametrize(
    ("x", "options", "shape", "dtype", "said"),
    [
        (np.ones((4, 3, 9, 9)), {}, (9, 9, 3), "float32", "channels first"),
        (np.full((4, 3, 9, 9), 200), {}, (9, 9, 3), "uint8", "channels first"),
        (np.full((4, 3, 9, 9), 200), {"samples": "numbers"}, (3, 9, 9), "int32", None),
        (np.full((4, 9, 9), 200), {}, (9, 9, 1), "uint8", "int64 9×9 taken as images"),
        (np.full((4, 9, 9), 5), {}, (9, 9), "int32", "taken as numbers"),
        (np.full((4, 9, 9), 5), {"samples": "images"}, (9, 9, 1), "uint8", None),
        (np.full((4, 50, 6), 200), {}, (50, 6), "int32", "taken as numbers"),
        (np.full((4, 9, 9, 3), 50_000, np.uint16), {}, (9, 9, 3), "int32", "taken as numbers"),
        (np.ones((4, 9, 9)), {}, (9, 9), "float32", "taken as numbers"),
        (np.ones((4, 9, 9)), {"samples": "images"}, (9, 9, 1), "float32", None),
        (np.ones((4, 9, 9), bool), {}, (9, 9, 1), "uint8", "black and white"),
        (np.ones((4, 9, 9), np.uint8), {}, (9, 9, 1), "uint8", "black and white"),
        (np.full((4, 9, 9), 200, np.uint8), {}, (9, 9, 1), "uint8", None),
        (np.full((4, 5), 200, np.uint8), {}, (5,), "int32", None),
    ],
)
def test_what_arrays_are_taken_for_is_told_and_done_again(tmp_path, x, options, shape, dtype, said):
    x.flat[0] = 0
    path = npz(tmp_path / "set.npz", x=x, y=np.arange(4) % 2, more=np.ones(1))
    content, told = imported(path, **options)
    train = content.splits["train"].x
    assert (train.shape[1:], train.dtype.name) == (shape, dtype)
    assert any("arrays left out: more" in line for line in told)
    assert said is None or any(said in line for line in told)
    new = read_inputs(path, spec(shape, dtype, 2, reading=content.reading))
    np.testing.assert_array_equal(new.x, train)


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_bytes_that_may_be_small_images_or_sequences_are_asked_about(tmp_path, dtype):
    x = np.ones((4, 20, 6), dtype)
    with pytest.raises(DatasetError, match=r"--samples images\|numbers, or"):
        raw_split(x, np.arange(4), "here")
    for samples, shape in (("images", (20, 6, 1)), ("numbers", (20, 6))):
        split = raw_split(x, np.arange(4), "here", ReadOptions(samples=samples))
        assert split.x.shape[1:] == shape


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.ones((2, 8, 8), np.float32), "is float32, from 1 to 1; .* whole numbers from 0 to 255"),
        (np.full((2, 8, 8), 256), "pixels are from 256 to 256; needed are 0 to 255"),
        (np.full((2, 8, 8), -1), "pixels are from -1"),
        (np.ones((2, 8, 8), bool), "truth values"),
    ],
)
def test_pixels_that_differ_from_the_data_sets_are_refused(tmp_path, x, told):
    with pytest.raises(UsageError, match=told):
        read_inputs(npz(tmp_path / "new.npz", x=x), IMAGES)


def test_a_test_split_is_read_as_the_training_split(tmp_path):
    train, test = np.full((4, 9, 9), 200), np.ones((2, 9, 9), int)
    y = np.arange(4) % 2
    np.savez(tmp_path / "s.npz", x_test=test, y_test=y[:2], x_train=train, y_train=y)
    splits = read_source(tmp_path / "s.npz")
    assert splits["test"].x.dtype == np.uint8
    assert splits["test"].x.max() == 1


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["a", "b", "a", "b"], dtype=object), ("a", "b")),
        (np.array([1, 2, 1, 2], dtype=object), ("1", "2")),
        (np.array([True, False, True, False]), ()),
        (np.array([1.0, 2.0, 1.0, 2.0]), ("1", "2")),
        (np.array(["b", "a", "b", "a"], dtype="S"), ("a", "b")),
    ],
)
def test_labels_of_any_type(labels, names):
    content = labelled({"train": raw_split(np.ones((4, 2)), labels, "here")}, "here")
    assert (content.classes, content.class_names) == (2, names)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.array(["a", None, "a", "b"], dtype=object), "types NoneType, str, as None"),
        (np.array(["a", 1, "a", "b"], dtype=object), "types int, str"),
        (np.array(["a", " ", "a", "b"]), "label of sample 1 .* is blank"),
        (np.array(["a", "b\nc", "a", "b"]), "label of sample 1 .* has a line break"),
        (np.array([1, 2, 3, 4], complex), "type complex128"),
        (np.array([0, -999, 1, 0]), "1 labels are -999"),
    ],
)
def test_labels_that_are_none(labels, told):
    with pytest.raises(DatasetError, match=told):
        labelled({"train": raw_split(np.ones((4, 2)), labels, "here")}, "here")


def test_objects_that_are_numbers_are_numbers():
    x = np.array([[1, 2.5], [True, 3]], dtype=object)
    assert raw_split(x, np.arange(2), "here").x.tolist() == [[1, 2.5], [1, 3]]
    x[1, 0] = "no"
    with pytest.raises(DatasetError, match=r"samples are Python objects of types float, int, str"):
        raw_split(x, np.arange(2), "here")


FORMATS = ("png", "PNG", "jpg", "webp", "bmp", "gif", "tiff", "tif")


def test_images_of_all_formats_are_read_and_other_files_are_told(tmp_path):
    for number, suffix in enumerate(FORMATS):
        for name in ("cat", "dog"):
            save(tmp_path / name / f"{number}.{suffix}", np.full((8, 8), 9 * number, np.uint8))
    for clutter in ("cat/Thumbs.db", "cat/._0.png", "cat/.DS_Store", "__MACOSX/x.png"):
        (tmp_path / clutter).parent.mkdir(exist_ok=True)
        (tmp_path / clutter).write_bytes(b"clutter")
    (tmp_path / "cat" / "notes.txt").write_text("hello")
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "empty.txt").write_text("")
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / ".hidden" / "1.png", GREY)
    content, told = imported(tmp_path)
    assert len(content.splits["train"].x) == 2 * len(FORMATS)
    assert "2 files left out: .txt" in told
    assert "folder 'owl' has no images, and is no class" in told
    assert any("1 hidden file left out" in line for line in told)
    inputs = read_inputs(
        tmp_path, replace(IMAGES, targets=(target_of(2, class_names=("cat", "dog")),))
    )
    order = np.argsort([name.lower() for name in inputs.names])
    assert len(order) == 2 * len(FORMATS)
    assert np.bincount(inputs.y).tolist() == [len(FORMATS)] * 2
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("cat/0.png", "dog/1.webp", "cat/._0.png"):
            archive.writestr(name, b"" if "._" in name else _png(GREY))
    assert len(read_source(tmp_path / "all.zip")["train"].x) == 2


def _png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_images_that_cannot_be_read_are_not_left_out(tmp_path):
    save(tmp_path / "cat" / "0.png", GREY)
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "1.HEIC").write_bytes(b"heic")
    with pytest.raises(DatasetError, match=r"1 image in a format .* owl/1.HEIC; convert"):
        read_source(tmp_path)


def test_folders_are_classes_however_few_images_each_has(tmp_path):
    for number in range(25):
        save(tmp_path / f"Class {number}" / "0.png", GREY)
    save(tmp_path / "class 1" / "0.png", GREY)
    content, told = imported(tmp_path)
    assert content.classes == 26
    assert any("'Class 1' and 'class 1' differ in case only" in line for line in told)


def test_idx_files_are_read_for_inference_too(tmp_path):
    def idx(array):
        return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + bytes(array)

    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(GREY[np.newaxis]))
    inputs = read_inputs(tmp_path / "t10k-images-idx3-ubyte", IMAGES)
    assert (inputs.x.shape, inputs.y) == ((1, 8, 8, 1), None)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([2], np.uint8)))
    assert read_inputs(tmp_path, IMAGES).y.tolist() == [2]


def test_names_of_classes_in_both_unicode_forms_are_one_class(tmp_path):
    for form, name in enumerate(("caf\u00e9", "cafe\u0301", "bar")):
        save(tmp_path / name / f"{form}.png", GREY)
    content, _ = imported(tmp_path)
    assert content.class_names == ("bar", "caf\u00e9")


@pytest.mark.parametrize(
    ("mode", "shape", "said"),
    [
        ("1", (8, 8, 1), None),
        ("L", (8, 8, 1), None),
        ("P", (8, 8, 3), None),
        ("RGB", (8, 8, 3), None),
        ("RGBA", (8, 8, 4), None),
        ("LA", (8, 8, 4), "converted from LA to RGBA"),
        ("CMYK", (8, 8, 3), "converted from CMYK to RGB"),
    ],
)
def test_modes_are_read_alike(tmp_path, mode, shape, said):
    suffix = "tiff" if mode in ("CMYK", "LA") else "png"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(GREY).convert("RGB").convert(mode).save(tmp_path / name / f"0.{suffix}")
    content, told = imported(tmp_path)
    train = content.splits["train"].x
    assert train.shape[1:] == shape
    assert told[-2 if said else 0].startswith("2 images" if said else "train, 2")
    assert said is None or any(said in line for line in told)
    inputs = read_inputs(tmp_path, spec(shape, "uint8", 2, ("a", "b")))
    np.testing.assert_array_equal(inputs.x, train)


def test_sixteen_bits_are_scaled_alike(tmp_path):
    for name, level in (("dark", 2000), ("light", 60_000)):
        save(tmp_path / name / "0.png", np.full((8, 8), level, np.uint16))
    content, told = imported(tmp_path)
    assert content.splits["train"].x[:, 0, 0, 0].tolist() == [8, 233]
    assert "2 images scaled from 16 to 8 bits" in told
    inputs = read_inputs(
        tmp_path, replace(IMAGES, targets=(target_of(2, class_names=("dark", "light")),))
    )
    np.testing.assert_array_equal(inputs.x, content.splits["train"].x)
    assert "2 images scaled from 16 to 8 bits" in inputs.told


def test_images_are_turned_as_the_camera_was_held(tmp_path):
    upright = np.zeros((8, 12), np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise
    for name in ("a", "b"):
        save(tmp_path / name / "0.jpg", np.rot90(upright), exif=exif.tobytes(), quality=100)
    content, told = imported(tmp_path)
    assert content.splits["train"].x.shape[1:] == (8, 12, 1)
    assert content.splits["train"].x[0, 0, 0, 0] > 200
    assert "2 images turned as their cameras were held" in told


def test_the_first_picture_of_a_moving_image_is_taken_and_told(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (10, 200)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        frames[0].save(tmp_path / name / "0.gif", save_all=True, append_images=frames[1:])
    content, told = imported(tmp_path)
    assert content.splits["train"].x.max() == 10
    assert "2 images moving, of which the first picture is taken" in told


def test_images_of_several_modes_get_all_channels_and_that_is_told(tmp_path):
    save(tmp_path / "a" / "0.png", GREY)
    save(tmp_path / "b" / "0.png", np.stack([GREY] * 3, axis=-1))
    content, told = imported(tmp_path)
    assert content.splits["train"].x.shape[1:] == (8, 8, 3)
    assert "1 images converted from L to RGB" in told


def test_what_is_done_to_new_images_is_told(tmp_path):
    save(tmp_path / "wide" / "0.png", np.zeros((8, 16, 3), np.uint8))
    inputs = read_inputs(tmp_path, IMAGES)
    assert inputs.x.shape == (1, 8, 8, 1)
    assert inputs.y is None
    assert set(inputs.told) == {
        "1 images converted from RGB to L",
        "1 images scaled to 8×8 (height × width; bilinear, not in proportion)",
    }


def test_folders_that_are_only_in_part_classes_are_told(tmp_path):
    for name in ("cat", "cow"):
        save(tmp_path / name / "0.png", GREY)
    named = replace(IMAGES, targets=(target_of(3, class_names=("cat", "dog", "fox")),))
    inputs = read_inputs(tmp_path, named)
    assert inputs.y is None
    assert any("'cow'" in line for line in inputs.told)


def test_classes_without_a_training_sample_are_told(tmp_path):
    x = np.ones((4, 2))
    np.savez(tmp_path / "s.npz", x_train=x, y_train=[0, 1, 0, 1], x_test=x, y_test=[0, 1, 2, 0])
    _, told = imported(tmp_path / "s.npz")
    assert any("no training sample is of the classes 2" in line for line in told)


@pytest.mark.parametrize(
    ("top", "told"),
    [(1, False), (8, False), (255, True), (0.01, True)],
)
def test_samples_of_another_scale_are_told(tmp_path, top, told):
    dataset = replace(spec(), scaling=Scaling(mean=(0.5, 0.5, 0.4), deviation=(0.3, 0.3, 1.0)))
    x = np.linspace(0, top, 30, dtype=np.float32).reshape(10, 3)
    inputs = read_inputs(npz(tmp_path / "new.npz", x=x), dataset)
    np.testing.assert_array_equal(inputs.x, x)
    assert any("are they scaled as those were?" in line for line in inputs.told) is told


def test_few_steps_of_sixteen_bits_are_told(tmp_path):
    for place, name in enumerate("abab"):
        pixels = np.full((8, 8), 300 * place + 100, np.uint16)
        save(tmp_path / "new" / name / f"{place}.png", pixels)
    _, told = imported(tmp_path / "new")
    assert any("is 1000 of 65535, so 8 bits keep 5 of their steps" in line for line in told)


def test_images_of_several_sizes_are_scaled_when_asked_for_and_at_inference_alike(tmp_path):
    ramp = np.linspace(0, 255, 12 * 20).astype(np.uint8).reshape(12, 20)
    for name, image in (("a", GREY), ("b", ramp), ("c", ramp.T)):
        save(tmp_path / name / "0.png", image)
    with pytest.raises(DatasetError, match=r"b/0.png is 12×20, and a/0.png is 8×8; --size 8x8"):
        imported(tmp_path)
    content, told = imported(tmp_path, size=(10, 16))
    x = content.splits["train"].x
    assert x.shape == (3, 10, 16, 1)
    assert "3 images scaled to 10×16 (height × width; bilinear, not in proportion)" in told
    wanted = Image.fromarray(ramp).resize((16, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(x[1, ..., 0], np.asarray(wanted))
    inputs = read_inputs(tmp_path, spec((10, 16, 1), "uint8", 3, ("a", "b", "c")))
    np.testing.assert_array_equal(inputs.x, x)


def _png_of_16_bits(channels):
    """A PNG of 2×2 pixels, which Pillow reads but does not write."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    row = b"\0" + np.full(2 * channels, 1000, ">u2").tobytes()
    header = struct.pack(">IIBBBBB", 2, 2, 16, color_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * 2)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _tiff_of_16_bits():
    """A TIFF of 2×2 pixels in RGB, which Pillow reads but does not write."""
    bits, pixels = struct.pack("<HHH", 16, 16, 16), np.full(12, 1000, "<u2").tobytes()
    at = 8 + 2 + 9 * 12 + 4
    tags = (
        *((256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, at + len(bits)), (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, len(pixels))),
    )
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + bits + pixels


_PIXELS = np.full(12, 1000, ">u2").tobytes()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("0.png", _png_of_16_bits(2), "16 bits a channel in (RGBA|LA), of which 8 would be read"),
        ("0.png", _png_of_16_bits(3), "16 bits a channel in RGB, .* save it with 8 bits"),
        ("0.png", _png_of_16_bits(4), "16 bits a channel in RGBA"),
        ("0.tif", _tiff_of_16_bits(), "16 bits a channel in RGB"),
        ("0.ppm", b"P6 2 2 65535\n" + _PIXELS, "16 bits a channel in RGB"),
        ("0.ppm", b"P3 1 1 1000\n7 8 9\n", "10 bits a channel in RGB"),
    ],
)
def test_colours_of_16_bits_are_refused_where_8_would_be_read(tmp_path, file, content, told):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(content)
    with pytest.raises(DatasetError, match=told):
        read_source(tmp_path)
    with pytest.raises(UsageError, match=told):
        read_inputs(tmp_path, spec((2, 2, 3), "uint8", 2, ("a", "b")))


@pytest.mark.parametrize(
    ("file", "content"),
    [("0.png", _png_of_16_bits(1)), ("0.pgm", b"P5 2 2 65535\n" + _PIXELS[:8])],
)
def test_grey_of_16_bits_is_scaled_whatever_the_format(tmp_path, file, content):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(content)
    read, told = imported(tmp_path)
    assert read.splits["train"].x.tolist() == [[[[4]] * 2] * 2] * 2
    assert "2 images scaled from 16 to 8 bits" in told


@pytest.mark.parametrize("mode", ["F", "I"])
def test_images_of_32_bits_are_refused(tmp_path, mode):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(GREY).convert(mode).save(tmp_path / name / "0.tif")
    with pytest.raises(DatasetError, match=f"0.tif is of mode {mode}; needed are 8 bits"):
        read_source(tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_a_transparent_colour_is_a_channel(tmp_path, mode):
    image = Image.fromarray(np.full((8, 8), 255, np.uint8)).convert("RGB").convert(mode)
    colour = image.getpixel((0, 0))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png", transparency=colour if mode != "1" else 255)
    content, _ = imported(tmp_path)
    x = content.splits["train"].x
    assert x.shape[1:] == (8, 8, 4)
    assert x[..., 3].max() == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": (8, 8)}, "--size is for image folders, and .* has arrays"),
        ({"label": "a"}, "--label is for tables"),
        ({"missing_marks": ("-1",)}, "--na is for tables"),
        ({"header": False}, "--header is for tables"),
    ],
)
def test_what_is_said_of_another_kind_of_source_is_not_ignored(tmp_path, options, told):
    with pytest.raises(UsageError, match=told):
        imported(npz(tmp_path / "a.npz", x=np.ones((4, 2)), y=np.arange(4) % 2), **options)


@pytest.mark.parametrize("shape", [(4, 9, 7, 3), (9, 7, 3)])
def test_channels_last_for_a_data_set_of_channels_first_says_both_shapes(tmp_path, shape):
    dataset = spec((9, 7, 3), "uint8", reading=Reading(channels_first=True))
    file = npz(tmp_path / "new.npz", x=np.zeros(shape, np.uint8))
    told = r"images 9×7×3, channels last, .* as 3×9×7: put them first, x.transpose\(0, 3, 1, 2\)"
    with pytest.raises(UsageError, match=told):
        read_inputs(file, dataset)


def test_shapes_of_a_data_set_of_channels_first_are_told_as_its_files_have_them(tmp_path):
    dataset = spec((9, 7, 3), "uint8", reading=Reading(channels_first=True))
    one = np.arange(3 * 9 * 7, dtype=np.uint8).reshape(3, 9, 7)
    np.testing.assert_array_equal(
        read_inputs(npz(tmp_path / "one.npz", x=one), dataset).x, one.transpose(1, 2, 0)[None]
    )
    other = npz(tmp_path / "other.npz", x=np.zeros((2, 3, 7, 9), np.uint8))
    with pytest.raises(UsageError, match=r"shape \(3, 7, 9\) .* has \(3, 9, 7\) \(channels first"):
        read_inputs(other, dataset)


def test_channels_that_are_put_last_are_told(tmp_path):
    file = npz(tmp_path / "new.npz", x=np.zeros((2, 3, 9, 7), np.uint8))
    inputs = read_inputs(file, spec((9, 7, 3), "uint8"))
    assert inputs.x.shape == (2, 9, 7, 3)
    assert any("3×9×7 have their channels first, which are put" in line for line in inputs.told)


TABLE = "size,colour,kind\n1.5,red,a\n2.5,grün,b\n3.5,red,a\n4.5,grün,b\n"


def of_table(tmp_path):
    """The data set of a table."""
    path = tmp_path / "train.csv"
    path.write_text(TABLE)
    split, _ = imported(path)
    return spec((3,), classes=2, names=("a", "b"), reading=split.reading)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        (TABLE.encode("cp1250"), {"encoding": "cp1250"}),
        (TABLE.replace(",", "|").encode(), {"delimiter": "|"}),
        (TABLE.replace(",", "\t").replace(".", ",").encode(), {"delimiter": "tab", "decimal": ","}),
    ],
)
def test_a_table_that_is_written_otherwise_is_read_as_said(tmp_path, written, options):
    known, path = of_table(tmp_path), tmp_path / "new.csv"
    path.write_bytes(written)
    found = read_inputs(path, known, TableOptions(**options))
    assert found.x.tolist() == [[1.5, 0, 1], [2.5, 1, 0], [3.5, 0, 1], [4.5, 1, 0]]
    assert found.y.tolist() == [0, 1, 0, 1]


def test_advice_on_a_table_to_predict_can_be_followed(tmp_path):
    known, path = of_table(tmp_path), tmp_path / "new.csv"
    path.write_text(TABLE.replace("2.5", "roughly"))
    with pytest.raises(UsageError, match=r"--na roughly counts it as missing$"):
        read_inputs(path, known)
    with pytest.raises(UsageError, match=r"values are missing: 'size' ×1$"):
        read_inputs(path, known, TableOptions(missing_marks=("roughly",)))
    with pytest.raises(UsageError, match="--decimal must be"):
        read_inputs(path, known, TableOptions(decimal="x"))


def test_what_is_said_of_tables_is_not_ignored_for_images(tmp_path):
    save(tmp_path / "digits" / "one.png", GREY)
    with pytest.raises(UsageError, match="--encoding is for tables"):
        read_inputs(tmp_path / "digits", IMAGES, TableOptions(encoding="utf-8"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, None),
        ({"by": ("patient",)}, "--by"),
        ({"decimal": ","}, "--decimal"),
        ({"missing_marks": ()}, "--na"),
    ],
)
def test_options_of_a_table_are_said_where_they_differ_from_what_is_guessed(options, said):
    assert TableOptions(**options).said == said
