"""Images of new samples are read as those of the data set, whatever their format and mode."""

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
from disdel.data.sources import read_source
from disdel.errors import DatasetError, UsageError
from disdel.types import target_of
from tests.support.inputs import GREY, IMAGES, imported, save, spec

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
