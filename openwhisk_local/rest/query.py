"""Typed readings of a request's query string, refused as OpenWhisk refuses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from openwhisk_local.entities.names import is_path
from openwhisk_local.limits import DEFAULT_LIST, MAX_BLOCKING_MS, MAX_LIST
from openwhisk_local.replies import BAD_TIMEOUT, bad_name_filter, malformed_query

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
MAX_INT = (1 << 31) - 1
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that is asked for."""

    limit: int
    skip: int
    count: bool


@dataclass(frozen=True, slots=True)
class Query:
    """The query string; every getter raises `ApiError` 400 on a bad value."""

    values: Mapping[str, str]

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A truth value.

        Raises:
            ApiError: it is none (400).
        """
        text = self.values.get(name)
        if text is None:
            return default
        value = _BOOLEANS.get(text.lower())
        if value is None:
            raise malformed_query(name, f"'{text}' is not a valid Boolean value")
        return value

    def blocking_timeout_s(self) -> float:
        """How long a blocking invocation waits.

        Raises:
            ApiError: that is no number of milliseconds up to the longest (400).
        """
        text = self.values.get("timeout", str(MAX_BLOCKING_MS))
        if not (_WHOLE_NUMBER.fullmatch(text) and 0 < int(text) <= MAX_BLOCKING_MS):
            raise malformed_query("timeout", BAD_TIMEOUT)
        return int(text) / 1000

    def page(self, collection: str) -> Page:
        """Which part of a collection is asked for.

        Raises:
            ApiError: `limit` or `skip` is no number, or out of range (400).
        """
        limit = self._whole("limit", DEFAULT_LIST, collection)
        if not 0 <= limit <= MAX_LIST:
            why = f"The value '{limit}' is not in the range of 0 to {MAX_LIST} for {collection}."
            raise malformed_query("limit", why)
        skip = self._whole("skip", 0, collection)
        if skip < 0:
            why = f"The value '{skip}' is not greater than or equal to 0 for {collection}."
            raise malformed_query("skip", why)
        return Page(limit or MAX_LIST, skip, self.flag("count"))

    def instant_ms(self, name: str) -> int | None:
        """A time since the epoch; None where there is none.

        Raises:
            ApiError: it is no number (400).
        """
        text = self.values.get(name)
        if text is None:
            return None
        if not _WHOLE_NUMBER.fullmatch(text):
            why = f"Parameter is not a valid value for epoch seconds: {text}"
            raise malformed_query(name, why)
        return int(text)

    def action_name(self) -> str | None:
        """The `name` filter: an action's name, or a package's and an action's.

        Raises:
            ApiError: it is neither (400).
        """
        text = self.values.get("name", "")
        parts = [part for part in text.split("/") if part]
        if is_path(text) and len(parts) <= 2:
            return "/".join(parts)
        if not text.strip():
            return None
        raise malformed_query("name", bad_name_filter(text))

    def _whole(self, name: str, default: int, collection: str) -> int:
        text = self.values.get(name)
        if text is None:
            return default
        if not _WHOLE_NUMBER.fullmatch(text) or abs(int(text)) > MAX_INT:
            why = f"The value '{text}' is not an integer for {collection}."
            raise malformed_query(name, why)
        return int(text)
