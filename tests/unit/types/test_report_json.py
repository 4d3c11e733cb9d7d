"""The wire form of a report: as documented, there and back, and as earlier releases wrote it."""

import dataclasses
import json
import re
import types
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.types import RunReport
from disdel.types.report_json import REPORT_VERSION, report_from_json, report_to_json

DOCS = Path("docs/commands.md").read_text().partition("## The report")[2].partition("\n### ")[0]
ROWS = dict(re.findall(r"^\| (`.+?`) \| (.+) \|$", DOCS, re.MULTILINE))
VERSION_1 = Path(__file__).with_name("report_version_1.json")


def names_of(kind):
    return [field.name for field in dataclasses.fields(kind)]


def parts(annotation):
    """The dataclasses in a type."""
    if dataclasses.is_dataclass(annotation):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from parts(inner)


def test_every_field_has_its_row():
    documented = [name for row in ROWS for name in re.findall(r"`(\w+)(?:\[\])?`", row)]
    assert sorted(documented) == sorted(["version", *names_of(RunReport)])
    assert f"{REPORT_VERSION}" in ROWS["`version`"]


@pytest.mark.parametrize("name", names_of(RunReport))
def test_every_part_of_a_field_is_in_its_row(name):
    [row] = [text for names, text in ROWS.items() if re.search(rf"`{name}(\[\])?`", names)]
    kinds = list(parts(typing.get_type_hints(RunReport)[name]))
    nested = [
        inner
        for kind in kinds
        for annotation in typing.get_type_hints(kind).values()
        for inner in parts(annotation)
    ]
    # They have paragraphs of their own below, or a row.
    elsewhere = {"Times", "Phases", *({"ClientScores"} if name != "client_scores" else ())}
    known = [kind for kind in (*kinds, *nested) if kind.__name__ not in elsewhere]
    missing = {
        field for kind in known for field in names_of(kind) if not re.search(rf"\b{field}\b", row)
    }
    assert not missing
    if kinds:
        fields = {field for kind in known for field in names_of(kind)}
        said = set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", row))
        assert said <= fields | {"no", *names_of(RunReport)}


def test_a_report_of_version_1_is_read():
    fields = json.loads(VERSION_1.read_text())
    report = report_from_json(fields)
    again = report_to_json(report)
    assert fields["version"] == 1
    again = _as_far_as(fields, json.loads(json.dumps(again)))
    assert again | {"version": 1} == fields


def _as_far_as(before, now):
    """`now` without the fields that `before` lacks."""
    if isinstance(before, dict):
        return {name: _as_far_as(value, now[name]) for name, value in before.items()}
    if isinstance(before, list):
        return [_as_far_as(one, other) for one, other in zip(before, now, strict=True)]
    return now


_TEXT = st.text(max_size=8)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def built(annotation):
    """A strategy for the values of a type, as dataclasses have them."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(built(one) for one in inner))
    if origin is tuple:
        return st.lists(built(inner[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(_TEXT, built(inner[1]), max_size=2)
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        return st.builds(annotation, **{name: built(hint) for name, hint in hints.items()})
    return {
        int: st.integers(0, 2**40),
        float: _FLOATS,
        str: _TEXT,
        bool: st.booleans(),
        object: st.one_of(st.none(), st.integers(), _TEXT),
        type(None): st.none(),
    }[annotation]


@given(report=built(RunReport))
def test_what_is_written_is_read_back(report):
    assert report_from_json(json.loads(json.dumps(report_to_json(report)))) == report
