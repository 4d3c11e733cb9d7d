"""CSV tables, and what is said while they are read."""

from __future__ import annotations

from disdel.data.filling import filled
from disdel.data.sources import ReadOptions, read_source
from disdel.data.sources.samples import labelled


class Table:
    """A table that is read; `told` is what its reader said."""

    def __init__(self, folder):
        self.folder = folder
        self.told = []

    def read(self, text, name="t.csv", **options):
        content = text if isinstance(text, bytes) else text.encode()
        (self.folder / name).write_bytes(content)
        self.told.clear()
        read_options = ReadOptions(tell=self.told.append, **options)
        path = self.folder / name
        content = labelled(read_source(path, read_options), str(path), read_options)
        if read_options.missing == "mean":
            return filled(content, str(path), self.told.append)
        return content

    def x(self, text, **options):
        return self.read(text, **options).splits["train"].x.tolist()

    def says(self, word):
        return any(word in line for line in self.told)


def lines(rows, delimiter=",", head="a{}label"):
    return "\n".join([head.format(delimiter), *(delimiter.join(map(str, row)) for row in rows)])
