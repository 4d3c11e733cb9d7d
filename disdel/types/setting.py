"""What a setting is to its users: the annotation that makes an option of a dataclass's field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from disdel.errors import UsageError

# Nobody reaches that.
_LARGE = 2**31
UNITS = {"_mb": "MB", "_s": "s"}
# What has a price, which is no number of seconds.
_PRICED = "_gb_s"


@dataclass(frozen=True, slots=True)
class Setting:
    """Stands beside a field's type: `epochs: Annotated[int, Setting("Passes over the data.")] = 5`.

    That field is the one place where the setting is declared. `disdel.settings` makes of it the
    flag, the environment variable, the keyword of the Python API, the line of `--help`, the row of
    the documentation and the entry of the report.

    Attributes:
        help: one or two sentences; they end with a full stop.
        name: what users call it, in snake case; None is the field's name without its unit.
        metavar: what stands for its value in a help text; None is made from its type.
        also: types of further values that a program may give, as type checkers read them.
        words: texts that stand for a value, as `{"auto": None}`.
        low: its least value.
        above: all its values are above this one.
        high: its greatest value.
        below: all its values are below this one.
        default: the default in words, where the value does not say it.
        group: the heading that it stands under.
        argument: it is positional, and no flag.
        short: a second flag, of one letter.
        off: the flag that says the opposite, where `--no-NAME` does not.
        means: the values that a flag and its opposite stand for, where these are no truth values.
        reads: makes a value of a text, or raises `ValueError`, and
        wanted: what it reads, for a message.
        in_environment: the variable of its name can set it.
        variables: further variables, which count after that one.
        wskprops: the key in OpenWhisk's `.wskprops` that counts after the variables.
        secret: it is shown nowhere.
    """

    help: str
    _: KW_ONLY
    name: str | None = None
    metavar: str | None = None
    also: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    default: str | None = None
    group: str = "Options"
    argument: bool = False
    short: str | None = None
    off: str | None = None
    means: tuple[Any, Any] | None = None
    reads: Callable[[str], Any] | None = None
    wanted: str = ""
    in_environment: bool = True
    variables: tuple[str, ...] = ()
    wskprops: str | None = None
    secret: bool = False

    def called(self, field_name: str) -> str:
        """What users call the setting of a field."""
        return self.name or field_name.removesuffix(unit_suffix(field_name))

    def meaning(self, value: Any) -> Any:
        """What a value stands for, if it is one of `words`; else the value."""
        return self.words.get(value, value) if isinstance(value, str) else value

    def check(self, name: str, value: Any, unit: str = "") -> None:
        """Refuse a number that is out of range; whatever is no number is in range.

        Args:
            name: the flag or the variable that says it.
            value: of the field.
            unit: of the number.

        Raises:
            UsageError: it is.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        shown = f"{value:g}" if isinstance(value, float) else f"{value}"
        if not self.has_in_range(value):
            unit = f" {unit}" if unit else ""
            raise UsageError(f"{name} must be {self.range}{unit}, not {shown}")
        if not math.isfinite(value):
            raise UsageError(f"{name} must be a finite number, not {shown}")

    def has_in_range(self, number: float) -> bool:
        # What is compared with NaN is false.
        enough = self.low is None or number >= self.low
        enough = enough and (self.above is None or number > self.above)
        enough = enough and (self.below is None or number < self.below)
        return enough and (self.high is None or number <= self.high)

    @property
    def range(self) -> str:
        """Its range in words; empty where there is none."""
        low, high = _shown(self.low), _shown(self.high)
        if self.above is not None:
            low = f"above {_shown(self.above)}"
            return f"{low} and at most {high}" if high else low
        if self.below is not None:
            return f"at least {low} and below {_shown(self.below)}"
        if low and high:
            return f"from {low} to {high}"
        return f"at least {low}" if low else f"at most {high}" if high else ""

    @property
    def told_range(self) -> str:
        """The range without a bound that is there against slips alone."""
        if self.high is None or self.high < _LARGE:
            return self.range
        return f"at least {_shown(self.low)}" if self.low else ""

    @property
    def range_after_words(self) -> str:
        """The same behind `a whole number`."""
        between = " " if self.above is not None or (self.low is not None and self.high) else " of "
        return f"{between}{self.range}" if self.range else ""


def unit_suffix(field_name: str) -> str:
    """The unit at the end of a field's name, as `_mb`; empty where there is none."""
    if field_name.endswith(_PRICED):
        return ""
    return next((suffix for suffix in UNITS if field_name.endswith(suffix)), "")


def _shown(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.6g}" if isinstance(number, float) else str(number)
