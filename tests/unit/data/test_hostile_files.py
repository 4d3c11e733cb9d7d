"""Files that are damaged or made to harm: refused in one line, in little time and memory."""

import gzip
import io
import os
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from disdel.data.sources.reading import read_source
from disdel.errors import DatasetError


def npy(header, data=b""):
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def header(descr, shape):
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"


LABELS = npy(header("<i4", (2,)), b"\0" * 8)
PICTURES = npy(header("|u1", (2, 2, 2)), b"\0" * 8)


def npz(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "x",
    [
        npy(header("<f4", (1 << 62,))),
        npy(header("<f4", (1 << 40, 1 << 40))),
        npy(header("<f4", (1 << 45,)), b"\0" * 8),
        npy(header("<f4", (2, 3)), b"\0" * 8),
        npy(header("<f4", (-1,)), b"\0" * 8),
        npy(header("|O", (2,)), b"cos\nsystem\n(S'touch owned'\ntR."),
        npy(header([("a", "<f4")], (2,)), b"\0" * 8),
        npy(header("|V0", (1 << 40,))),
        npy(header("<f4", "x")),
        npy("[" * 5000),
        npy("{" * 9),
        npy("__import__('os')"),
        b"\x93NUMPY\x09\x00\xff\xff",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"no array",
        b"",
    ],
)
def test_an_archive_whose_arrays_lie(tmp_path, monkeypatch, x):
    monkeypatch.chdir(tmp_path)
    npz(tmp_path / "a.npz", {"x.npy": x, "y.npy": LABELS})
    with pytest.raises(DatasetError, match=r"a\.npz") as raised:
        read_source(tmp_path / "a.npz")
    assert len(str(raised.value)) < 500
    assert not (tmp_path / "owned").exists()


def patched(data, offset, value):
    """The bytes of a zip with a field of its first central entry replaced."""
    place = data.index(b"PK\x01\x02") + offset
    return data[:place] + value + data[place + len(value) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: patched(data, 10, struct.pack("<H", 9)), "deflate64"),
        (lambda data: patched(data, 10, struct.pack("<H", 93)), "zstandard"),
        (lambda data: patched(data, 10, struct.pack("<H", 77)), "method 77"),
        (lambda data: patched(data, 8, b"\x01"), "encrypted"),
        (lambda data: patched(data, 24, struct.pack("<I", 0xFFFFFFF0)), "MB are free"),
        (lambda data: patched(data, 24, struct.pack("<I", 4)), "a.zip"),
        (lambda data: patched(data, 42, struct.pack("<I", 1 << 30)), "damaged"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: data.replace(b"c/0.png", b"../.png"), "leads outside"),
        (lambda data: data.replace(b"c/0.png", b"/c0.png"), "leads outside"),
        (lambda data: b"", "damaged"),
    ],
)
def test_a_zip_that_is_odd(tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("DISDEL_HELPER_MEMORY_MB", "1000")
    picture = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(picture, "png")
    npz(
        tmp_path / "a.zip",
        {f"{name}/{n}.png": picture.getvalue() for name in "cd" for n in range(2)},
        zipfile.ZIP_DEFLATED,
    )
    (tmp_path / "a.zip").write_bytes(change((tmp_path / "a.zip").read_bytes()))
    with pytest.raises(DatasetError, match=message):
        read_source(tmp_path / "a.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_read_and_their_damage_is_told(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("t.csv", "a,b,label\n" + "1,2,x\n3,4,y\n" * 500)
    assert len(read_source(tmp_path / "a.zip")["train"].x) == 1000
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[50:60] = b"\xff" * 10
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.zip"):
        read_source(tmp_path / "a.zip")


def test_what_unpacks_beyond_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_HELPER_MEMORY_MB", "50")
    npz(tmp_path / "a.npz", {"x.npy": PICTURES, "y.npy": b"\0" * (60 << 20)}, zipfile.ZIP_DEFLATED)
    with gzip.open(tmp_path / "b.csv.gz", "wb") as file:
        file.write(b"a,label\n" + b"1,2\n" * (20 << 20))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", b"a,label\n" + b"1,2\n" * (20 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("a.npz", "b.csv.gz", "c.zip"):
        with pytest.raises(DatasetError, match="50 MB are free for it"):
            read_source(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\0\0\x08\x00",
        b"\0\0\x08\xff",
        b"\0\0\x08\x01" + struct.pack(">I", 0xFFFFFFFF),
        b"\0\0\x0e\x03" + struct.pack(">III", *[0xFFFFFFFF] * 3) + b"\0" * 100,
        b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\0" * 3,
        b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\0" * (1 << 20),
        b"\0\0\x07\x01" + struct.pack(">I", 0),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_an_idx_file_that_lies(tmp_path, content, ending):
    (tmp_path / f"train-labels-idx1-ubyte{ending}").write_bytes(
        gzip.compress(content) if ending else content
    )
    images = b"\0\0\x08\x03" + struct.pack(">III", 2, 2, 2) + b"\0" * 8
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    with pytest.raises(DatasetError, match=r"is damaged|is not an IDX file"):
        read_source(tmp_path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data=b""):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(width, height):
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 0xFFFFFFF0)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + directory + b"\0" * 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b""),
        ("a.png", png(1 << 31, 4)),
        ("a.png", png(20_000, 20_000, zlib.compress(b"\0" * 1000))),
        ("a.png", png(10_000, 10_000, zlib.compress(b"\0" * 1000))),
        ("a.png", png(4, 4)),
        ("a.png", png(0, 0)),
        ("a.png", png(4, 4, b"\xff" * 50)),
        ("a.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 30),
        ("a.gif", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0" * 3),
        ("a.bmp", b"BM" + b"\xff" * 60),
        ("a.tif", tiff(1 << 20, 1 << 20)),
        ("a.tif", tiff(10, 10)),
        ("a.tif", b"II*\0" + struct.pack("<I", 4)),
        ("a.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 "),
        ("a.pgm", b"P5 99999999 99999999 255\n"),
        ("a.ppm", b"P3 " + b"9" * 5000),
    ],
)
def test_an_image_that_lies(tmp_path, name, content):
    for label in "cd":
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(content)
    with pytest.raises(DatasetError, match="image"):
        read_source(tmp_path)


def test_many_images_of_a_size_that_does_not_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("DISDEL_HELPER_MEMORY_MB", "10")
    for label in "cd":
        (tmp_path / label).mkdir()
        for n in range(4):
            Image.new("L", (2000, 2000)).save(tmp_path / label / f"{n}.png")
    with pytest.raises(DatasetError, match="takes 31 MB in memory, and 10 MB are free"):
        read_source(tmp_path)


@pytest.mark.parametrize("name", ["pipe.csv", "pipe.npz", "pipe.zip", "link.csv"])
def test_devices_and_pipes_are_not_read(tmp_path, name):
    if name == "link.csv":
        (tmp_path / name).symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match="a device or a pipe"):
        read_source(tmp_path / name)
