"""What may stand behind the name of a partitioner, a strategy or a selection."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

import pytest

from disdel.errors import UsageError
from disdel.types.named import Rest, parameters_said, read_named, usage
from disdel.types.setting import Setting


def plain(asked):
    """Takes nothing of the user's."""


def skewed(
    asked,
    alpha: Annotated[float, Setting("Skew.", above=0)],
    *,
    least: Annotated[int, Setting("Least.", low=0)] = 1,
    balanced: bool = True,
):
    """One value by position."""


def sizes(asked, law: Literal["linear", "power"], exponent: float | None = None):
    """Two by position."""


def column(asked, column: Rest):
    """A text of any characters."""


@dataclass(frozen=True)
class Kept:
    """A dataclass."""

    average: str = "samples"
    _: KW_ONLY
    mu: float = 0.01


def said(text, takes, leave_out=("asked",)):
    return parameters_said(read_named(text), takes, "--option", leave_out=leave_out)


@pytest.mark.parametrize(
    ("text", "takes", "values"),
    [
        ("plain", plain, {}),
        ("skewed:0.3", skewed, {"alpha": 0.3}),
        ("skewed:1e-2,least=10", skewed, {"alpha": 0.01, "least": 10}),
        ("skewed:least=0,alpha=3", skewed, {"least": 0, "alpha": 3.0}),
        ("skewed:1,balanced=no", skewed, {"alpha": 1.0, "balanced": False}),
        ("sizes:linear", sizes, {"law": "linear"}),
        ("sizes:power:1.5", sizes, {"law": "power", "exponent": 1.5}),
        ("sizes:power,exponent=none", sizes, {"law": "power", "exponent": None}),
        ("column:user: id, all=1", column, {"column": "user: id, all=1"}),
        ("kept:mu=0.5", Kept, {"mu": 0.5}),
        ("my/part.py:skewed:0.3,least=2", skewed, {"alpha": 0.3, "least": 2}),
        ("my.part:skewed:0.3", skewed, {"alpha": 0.3}),
    ],
)
def test_what_is_said_is_what_the_signature_takes(text, takes, values):
    made = said(text, takes)
    assert made == values
    assert [type(value) for value in made.values()] == [type(value) for value in values.values()]


@pytest.mark.parametrize(
    ("text", "takes", "message"),
    [
        ("plain:", plain, "--option plain:: plain takes no parameters; it is written plain"),
        ("plain:2", plain, "--option plain:2: plain takes no parameters"),
        ("skewed", skewed, r"--option skewed lacks alpha; it is written skewed:ALPHA\[,least=1"),
        ("skewed:least=1", skewed, "lacks alpha"),
        ("skewed:", skewed, "alpha must be a number above 0, not ''"),
        ("skewed:x", skewed, "--option skewed:x: alpha must be a number above 0, not 'x'"),
        ("skewed:nan", skewed, "alpha must be a number above 0, not 'nan'"),
        ("skewed:inf", skewed, "alpha must be a number above 0, not 'inf'"),
        ("skewed:-1", skewed, "alpha must be above 0, not -1"),
        ("skewed:1,least=-1", skewed, "least must be at least 0, not -1"),
        ("skewed:1,least=1.5", skewed, "least must be a whole number of at least 0, not '1.5'"),
        ("skewed:1,balanced=maybe", skewed, "balanced must be yes or no, not 'maybe'"),
        ("skewed:1,leats=2", skewed, r"has no parameter leats \(did you mean least\?\)"),
        ("skewed:1,least=2,least=3", skewed, "gives least twice"),
        ("skewed:1,alpha=3", skewed, "gives alpha twice"),
        ("skewed:1,2", skewed, "'2' is no KEY=VALUE"),
        ("skewed:1,", skewed, "'' is no KEY=VALUE"),
        ("skewed:1:2", skewed, "says 2 values by position"),
        ("sizes:cubic", sizes, "law must be linear or power, not 'cubic'"),
        ("sizes:power:x", sizes, "exponent must be a number or none, not 'x'"),
        ("column", column, "lacks column"),
        ("column:", column, "lacks column; it is written column:COLUMN"),
        ("kept:nu=3", Kept, "has no parameter nu"),
    ],
)
def test_anything_else_is_refused(text, takes, message):
    with pytest.raises(UsageError, match=message):
        said(text, takes)


def test_what_others_give_cannot_be_said():
    with pytest.raises(UsageError, match="kept has no parameter average"):
        said("kept:average=equal", Kept, leave_out=("average",))


@pytest.mark.parametrize(
    ("takes", "written"),
    [
        (plain, "it"),
        (skewed, "it:ALPHA[,least=1,balanced=yes]"),
        (sizes, "it:linear|power[,exponent=EXPONENT]"),
        (column, "it:COLUMN"),
        (Kept, "it[:average=samples,mu=0.01]"),
    ],
)
def test_usage_says_all_of_it(takes, written):
    assert usage("it", takes, leave_out=("asked",)) == written


@pytest.mark.parametrize(
    ("text", "name", "is_entry"),
    [
        ("iid", "iid", False),
        ("by:user.id", "by", False),
        ("a folder/net.py:make", "a folder/net.py:make", True),
        ("net.py:make:3", "net.py:make", True),
        ("package.net:make", "package.net:make", True),
        ("", "", False),
    ],
)
def test_functions_of_the_users_have_a_colon_in_their_name(text, name, is_entry):
    named = read_named(text)
    assert (named.name, named.is_entry) == (name, is_entry)
