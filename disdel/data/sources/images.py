"""Image files as pixels of 8 bits a channel, the same wherever images are read."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.files import FileTree, first_line
from disdel.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pbm"),
)
# Images that cannot be read here, and would be missed.
UNREADABLE = (
    *(".heic", ".heif", ".avif", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".arw", ".jp2"),
    *(".j2k", ".jxl", ".exr", ".hdr", ".dcm", ".eps", ".ai", ".ico", ".tga", ".pcx", ".dds"),
)
_BITS_PER_SAMPLE = 258
_MOST_OF_8_BITS = 255
# What each mode becomes; 16 bits a channel are scaled to 8.
_MODES = {
    **dict.fromkeys(("L", "1"), "L"),
    **dict.fromkeys(("RGB", "CMYK", "YCbCr", "LAB", "HSV"), "RGB"),
    **dict.fromkeys(("RGBA", "LA", "PA", "RGBa", "La"), "RGBA"),
}
# Of 12 bits in 16, as cameras and scanners write them, 8 bits keep 16 steps.
_DARK_16_BITS = 4096
_AS_THEY_ARE = ("L", "RGB", "RGBA", "1", "P")
# A colour of these, and all grey levels, may be said to be transparent.
_WITHOUT_ALPHA = ("L", "RGB", "1", "P")


@dataclass(slots=True)
class ImageReader:
    """Reads images, and counts what it changed.

    Attributes:
        tree: where they are.
        changes: how many images were changed in which way.
        brightest: the greatest pixel of images of 16 bits.
    """

    tree: FileTree
    changes: Counter[str] = field(default_factory=Counter)
    brightest: int = 0

    def read(self, name: str, mode: str | None = None) -> Image.Image:
        """An image of mode L, RGB or RGBA, turned as its camera was held.

        Args:
            name: of the file.
            mode: that it is converted to; None for that which loses nothing.

        Raises:
            DatasetError: it is no image, damaged, or not of 8 bits a channel, nor of 16 in grey.
        """
        from PIL import ExifTags, ImageOps

        with self._opened(name) as opened:
            natural = _natural_mode(opened, f"{self.tree.label}/{name}")
            is_16_bit_grey = _is_16_bit_grey(opened)
            if is_16_bit_grey:
                self.changes["scaled from 16 to 8 bits"] += 1
                if "transparency" in opened.info:
                    self.changes["of 16 bits, whose transparent grey is read as that grey"] += 1
            elif opened.mode not in _AS_THEY_ARE:
                self.changes[f"converted from {opened.mode} to {natural}"] += 1
            if getattr(opened, "n_frames", 1) > 1:
                self.changes["moving, of which the first picture is taken"] += 1
            if opened.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                self.changes["turned as their cameras were held"] += 1
            image = ImageOps.exif_transpose(opened)
            if is_16_bit_grey:
                self.brightest = max(self.brightest, int(np.asarray(image).max()))
                image = _in_8_bits(image)
            image = image.convert(natural)
        if mode is not None and mode != natural:
            self.changes[f"converted from {natural} to {mode}"] += 1
            image = image.convert(mode)
        return image

    def scaled(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """An image in another size (height, width), without keeping its proportions."""
        from PIL import Image

        height, width = size
        if image.size == (width, height):
            return image
        self.changes[
            f"scaled to {height}×{width} (height × width; bilinear, not in proportion)"
        ] += 1
        return image.resize((width, height), Image.Resampling.BILINEAR)

    def mode(self, name: str) -> str:
        """The mode that loses nothing of an image, by its header; raises as `read` does."""
        with self._opened(name) as image:
            return _natural_mode(image, f"{self.tree.label}/{name}")

    @contextmanager
    def _opened(self, name: str) -> Iterator[Image.Image]:
        from PIL import Image, UnidentifiedImageError

        where = f"{self.tree.label}/{name}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with self.tree.open(name) as file, Image.open(file) as image:
                    yield image
        except DatasetError:
            raise
        except (UnidentifiedImageError, SyntaxError) as error:
            raise DatasetError(
                f"{where} is not an image, or of a kind that cannot be read here: {error}"
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DatasetError(f"{where} is larger than an image may be: {error}") from error
        except Exception as error:  # Of a damaged file, its readers raise whatever they meet.
            raise DatasetError(f"{where} is a damaged image: {first_line(error)}") from error

    def told(self) -> list[str]:
        """A line for each kind of change, and one where little is left of images of 16 bits."""
        lines = [f"{count} images {change}" for change, count in self.changes.items()]
        if 0 < self.brightest < _DARK_16_BITS:
            lines.append(
                f"the brightest pixel of images of 16 bits is {self.brightest} of 65535, so 8 bits "
                f"keep {(self.brightest + 128) // 257 + 1} of their steps: stretch them to the "
                "whole range first, or import their numbers as .npz with --samples numbers"
            )
        return lines


def _natural_mode(image: Image.Image, where: str) -> str:
    """The mode that an image is read in.

    Raises:
        DatasetError: its pixels are not of 8 bits, nor of 16 in grey.
    """
    bits = _bits_of(image)
    if bits > 8:
        raise DatasetError(
            f"{where} has {bits} bits a channel in {image.mode}, of which 8 would be read: save it "
            "with 8 bits a channel (16 are read of grey images alone), or import the numbers of "
            "its pixels as .npz with --samples numbers"
        )
    if image.mode in _WITHOUT_ALPHA and "transparency" in image.info:
        return "RGBA"
    if image.mode == "P":
        return "RGB"
    mode = "L" if _is_16_bit_grey(image) else _MODES.get(image.mode)
    if mode is None:
        raise DatasetError(
            f"{where} is of mode {image.mode}; needed are 8 bits a channel in grey, RGB or RGBA, "
            "or 16 in grey"
        )
    return mode


def _is_16_bit_grey(image: Image.Image) -> bool:
    """Whether pixels are from 0 to 65535; of these files Pillow makes one of 32 bits."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _bits_of(image: Image.Image) -> int:
    """The bits of a channel in the file, where Pillow reads 8 of more; else 8 or fewer."""
    if image.mode.startswith(("I", "F")):
        return 8  # all of them are read, or such an image is refused by its mode
    of_tiff = getattr(image, "tag_v2", None)
    if of_tiff is not None:
        return int(max(of_tiff.get(_BITS_PER_SAMPLE, (8,))))
    for tile in getattr(image, "tile", ()):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        # Of PNG and others, as in `RGB;16B`; `BGR;16` has 16 bits a pixel.
        if any(isinstance(arg, str) and arg[-4:-1] == ";16" for arg in args):
            return 16
        # Of PPM, the greatest value of a channel.
        if tile[0].startswith("ppm") and isinstance(args[-1], int) and args[-1] > _MOST_OF_8_BITS:
            return args[-1].bit_length()
    return 8


def _in_8_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    pixels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))


def pixels_of(image: Image.Image) -> Pixels:
    """Pixels, shape (height, width, channels)."""
    values: NDArray[Any] = np.asarray(image, dtype=np.uint8)
    return values[..., np.newaxis] if values.ndim == 2 else values


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
