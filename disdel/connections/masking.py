"""A server's URL as people may see it: without what could be a password."""

from __future__ import annotations

import re

# Of a clean URL every part is known. Whatever else there is may be a password that was not encoded,
# so one `@` too many, for example, hides the whole of it.
_CLEAN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)"
    r"(?P<user>[^@/?#\s]*@)?"
    r"(?P<host>[\w.-]+|\[[0-9a-f:.]+\])?"
    r"(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[^@?#\s]*)?"
    r"(?P<query>\?[^@#\s]*)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HIDDEN = "***"


def masked(url: str) -> str:
    """`url` with `***` in place of user, password and query; of an odd one only its scheme is left.

    >>> masked("redis://:secret@cache:6379/1?password=secret")
    'redis://***@cache:6379/1?***'
    """
    clean = _CLEAN.fullmatch(url)
    if clean is None:
        scheme = _SCHEME.match(url)
        return f"{scheme[0] if scheme else ''}{_HIDDEN}"
    return "".join(
        (
            clean["scheme"],
            f"{_HIDDEN}@" if clean["user"] else "",
            clean["host"] or "",
            clean["port"] or "",
            clean["path"] or "",
            f"?{_HIDDEN}" if clean["query"] else "",
        )
    )
