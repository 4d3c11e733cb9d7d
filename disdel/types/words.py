"""Words of messages that depend on what they speak of."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A number of things, as `1 file` and `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def a_kind(thing: object) -> str:
    """What a value is, as `an int`, `None` and `a numpy.ndarray`."""
    if thing is None:
        return "None"
    kind = type(thing)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"
