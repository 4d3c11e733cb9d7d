"""Draw circles and squares of random size and place, as gray pictures of 24×24."""

import random
from pathlib import Path

from PIL import Image, ImageDraw

PICTURES = {"train": 100, "test": 20}  # of each class

draws = random.Random(0)
for split, count in PICTURES.items():
    for shape in ("circle", "square"):
        folder = Path("shapes") / split / shape
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = Image.new("L", (24, 24), color=draws.randrange(60))
            size = draws.randrange(8, 18)
            left, top = draws.randrange(24 - size), draws.randrange(24 - size)
            pen = ImageDraw.Draw(picture)
            draw = pen.ellipse if shape == "circle" else pen.rectangle
            draw((left, top, left + size, top + size), fill=draws.randrange(150, 256))
            picture.save(folder / f"{number:03}.png")
